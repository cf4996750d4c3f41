"""Half precision of a network that is told of the scene: calibrated and judged with the vector of each scene, not with its zeros."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from hfd_edge.errors import ExportError, GateError
from hfd_edge.export import build_graphs
from hfd_edge.export.build_graphs import GraphPlan
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.export.legality import inspect_trt
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.quantize_trt import to_fp16_trt
from hfd_edge.package import Package
from hfd_edge.raster_run import RasterOptions
from tests.rasters import write_tif
from tests.test_scene_vector import SPEC, told_network

FP32, FP16 = "graph-fp32.onnx", "graph-fp16-trt.onnx"
TOLD = np.float32([[-0.8, 0.1, 1.2, -0.5, 0.3, 1.5]])


def half_plan(folder, **changes):
    """Two scenes of different power, neither at the mean that the zeros stand for."""
    rng = np.random.default_rng(7)
    (folder / "scenes").mkdir(exist_ok=True)
    for name, level in (("a", 0.02), ("b", 0.3)):
        write_tif(folder / "scenes" / f"{name}.tif", (level * rng.gamma(4.4, 1 / 4.4, (2, 300, 260))).astype(np.float32))
    return GraphPlan(**{"data": (folder / "scenes",), "declared": RasterOptions(unit="intensity"), "precisions": ("fp32", "fp16"),
                        "targets": ("cpu", "tensorrt"), "thresholds": Thresholds(min_pixels=10_000), **changes})


def packaged(folder, plan, network=None):
    onnx.save(network or told_network(), folder / "net.onnx")
    (folder / "spec.yaml").write_text(SPEC)
    return package_foreign(folder / "net.onnx", folder / "spec.yaml", folder / "net.engine", ForeignOptions(measure=False, plan=plan))


def run(graph, *vector):
    pixels = np.random.default_rng(0).normal(size=(1, 2, 64, 64)).astype(np.float32)
    return onnxruntime.InferenceSession(graph).run(None, {"pixels": pixels, **dict(zip(("scene",), vector))})[0]


def test_the_half_graph_is_legal_takes_the_vector_in_float_and_says_the_same(tmp_path):
    report = packaged(tmp_path, half_plan(tmp_path))
    assert FP16 in report.gate and {FP32, FP16} == {*report.graph_sizes}
    with Package.open(tmp_path / "net.engine") as package:
        single, half = (bytes(package.read(name)) for name in (FP32, FP16))
    legal = inspect_trt(half, FP16)
    assert not legal.problems and legal.convolutions == 3
    model = onnx.load_from_string(half)
    assert [(value.name, value.type.tensor_type.elem_type) for value in model.graph.input] == [("pixels", 1), ("scene", 1)]
    assert sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer) == 4
    largest = np.abs(run(single, TOLD)).max()
    assert 0 < np.abs(run(half, TOLD) - run(single, TOLD)).max() < 2e-3 * largest
    assert np.abs(run(half, TOLD) - run(half)).max() > 0.1 * largest, "the vector counts"


def deaf(graph, ranges):
    """The half graph, its vector multiplied by zero: what it was if nobody told it anything."""
    model = onnx.load_from_string(to_fp16_trt(graph, ranges))
    for node in model.graph.node:
        node.input[:] = ["silence" if name == "scene" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero"))
    model.graph.node.insert(0, helper.make_node("Mul", ["scene", "zero"], ["silence"], name="silence"))
    return model.SerializeToString()


def test_the_gate_tells_each_scene_and_refuses_a_graph_that_does_not_listen(tmp_path, monkeypatch):
    monkeypatch.setattr(build_graphs, "to_fp16_trt", deaf)
    with pytest.raises(GateError, match=f"{FP16}: label flips"):
        packaged(tmp_path, half_plan(tmp_path))
    assert not (tmp_path / "net.engine").exists()


def test_ranges_are_those_of_the_scenes_vectors_and_what_they_overflow_stays_float(tmp_path):
    network = told_network()
    weight = next(t for t in network.graph.initializer if numpy_helper.to_array(t).shape == (6, 8))
    weight.CopyFrom(numpy_helper.from_array(np.full((6, 8), 1e4, np.float32), weight.name))
    packaged(tmp_path, None, network)
    with Package.open(tmp_path / "net.engine") as package:
        graph = bytes(package.read(FP32))
    offset = next(node for node in onnx.load_from_string(graph).graph.node if node.op_type in ("MatMul", "Gemm")).output[0]
    tile = np.zeros((2, 64, 64), np.float32)
    silent, told = calibrate(graph, [tile, tile]), calibrate(graph, [tile, tile], told=[0 * TOLD, 3 * TOLD])
    assert silent.tensors[offset] == (0, 0) and told.tensors[offset][1] == pytest.approx(3e4 * TOLD.sum(), rel=1e-3)
    assert silent.data_sha256 != told.data_sha256
    kinds = []
    for ranges in (silent, told):
        model = onnx.load_from_string(to_fp16_trt(graph, ranges))
        weight = next(node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")).input[1]
        kinds.append(next(tensor.data_type for tensor in model.graph.initializer if tensor.name == weight))
    assert kinds == [onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT]


def test_int8_is_refused_by_name_with_the_precision_that_can_be_had(tmp_path):
    for changes in ({"precisions": None}, {"precisions": ("fp32", "int8"), "targets": ("cpu",)}):
        with pytest.raises(ExportError, match="INT8 of a network with scene_percentiles.*--precision fp32,fp16 --target cpu,tensorrt"):
            packaged(tmp_path, half_plan(tmp_path, **changes))
