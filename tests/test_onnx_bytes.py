"""An INT8 graph that takes bytes answers bit for bit as the file does that takes float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from engines import make_spec
from onnx import TensorProto, helper, numpy_helper

from hfd_edge.engine.onnx_bytes import as_bytes, with_byte_input
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.engine.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT, read_fields, write_fields
from hfd_edge.errors import EngineError
from hfd_edge.package import Golden, Package, write_package
from hfd_edge.segmenter import Segmenter

BANDS, CLASSES, SCALE, ZERO = 2, 3, 0.031, 90


def graph(*, block: int = 2, zero_type=np.uint8, scale: float = SCALE, rows: int | str = "r", also_read: bool = False,
          per_channel: bool = False, bands: int = BANDS) -> bytes:
    """SpaceToDepth, QuantizeLinear, a convolution of 1 x 1 over what that gives back, and an up-sampling to the input's size."""
    rng, channels = np.random.default_rng(0), bands * block * block
    scale = np.full(channels, scale, np.float32) if per_channel else np.float32(scale)
    zero = np.full(channels, ZERO, zero_type) if per_channel else zero_type(ZERO)
    arrays = {"scale": scale, "zero": zero, "weights": rng.normal(size=(CLASSES, channels, 1, 1)).astype(np.float32),
              "factors": np.array([1, 1, block, block], np.float32)}
    nodes = [helper.make_node("SpaceToDepth", ["pixels"], ["cells"], blocksize=block),
             helper.make_node("QuantizeLinear", ["cells", "scale", "zero"], ["bytes"], axis=1),
             helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["values"], axis=1),
             helper.make_node("Conv", ["values", "weights"], ["small"]),
             helper.make_node("Resize", ["small", "", "factors"], ["logits"], mode="nearest")]
    if also_read:
        nodes[-1].output[0] = "large"
        nodes += [helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1]), helper.make_node("Add", ["large", "mean"], ["logits"])]
    image = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", bands, rows, "c"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES, "r", "c"])
    made = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items()])
    opset = 17 if also_read else 18
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def test_the_rewritten_graph_answers_as_the_file_does():
    model = graph()
    rewritten, by = with_byte_input(model, "pixels", BANDS)
    onnx.checker.check_model(onnx.load_from_string(rewritten), full_check=True)
    assert (by.scale, by.zero_point) == (np.float32(SCALE), ZERO)
    pixels = np.random.default_rng(1).normal(0, 3, (3, BANDS, 22, 38)).astype(np.float32)
    first, second = (onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]) for m in (model, rewritten))
    expected = first.run(None, {"pixels": pixels})[0]
    np.testing.assert_array_equal(second.run(None, {"pixels": as_bytes(pixels, by, 2)})[0], expected)
    assert len({*expected.argmax(axis=1).ravel()}) == CLASSES


@pytest.mark.parametrize("changed", [{"block": 4}, {"zero_type": np.int8}, {"also_read": True}, {"per_channel": True}, {"bands": 5},
                                     {"rows": 32}, {"scale": 1e-40}, {"scale": np.inf}])
def test_a_graph_that_does_not_begin_so_stays_as_it_is(changed):
    assert with_byte_input(graph(**changed), "pixels", changed.get("bands", BANDS)) is None


def test_names_of_another_wire_type_or_no_result_at_all_are_no_reason_to_fail():
    model = onnx.load_from_string(graph())
    del model.graph.node[0].output[:]
    assert with_byte_input(model.SerializeToString(), "pixels", BANDS) is None
    strange = write_fields([(7, BYTES, write_fields([(1, BYTES, write_fields([(1, VARINT, 1 << 40), (2, BYTES, b"\xff\xfe")]))]))])
    assert with_byte_input(strange, "pixels", BANDS) is None


def test_a_graph_that_gives_its_cells_back_stays_as_it_is():
    model = onnx.load_from_string(graph())
    model.graph.output.append(helper.make_tensor_value_info("cells", TensorProto.FLOAT, None))
    assert with_byte_input(model.SerializeToString(), "pixels", BANDS) is None


def test_a_graph_of_another_input_stays_as_it_is():
    assert with_byte_input(graph(), "", BANDS) is None and with_byte_input(graph(), "logits", BANDS) is None


@pytest.mark.parametrize("wire, value", [(VARINT, 0), (VARINT, 127), (VARINT, 128), (VARINT, 2**64 - 1), (BYTES, b""), (BYTES, b"x" * 300),
                                         (FIXED32, b"abcd"), (FIXED64, b"abcdefgh")])
def test_a_field_is_read_as_it_was_written(wire, value):
    (number, kind, found), = read_fields(memoryview(write_fields([(20, wire, value)])))
    assert (number, kind, found if wire == VARINT else bytes(found)) == (20, wire, value)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A package whose INT8 graph is this file's, and whose FP32 graph keeps its first nodes."""
    path, golden = tmp_path_factory.mktemp("bytes") / "m.engine", np.random.default_rng(3).normal(size=(BANDS, 64, 64)).astype(np.float32)
    graphs = {"graph-fp32.onnx": graph(per_channel=True), "graph-int8-cpu.onnx": graph()}
    labels = {}
    for name, model in graphs.items():
        logits = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"pixels": golden[None]})[0][0]
        labels[name] = logits.argmax(axis=0).astype(np.uint8)
    write_package(path, make_spec(BANDS, CLASSES, 2, 1, 1), graphs, Golden(golden, labels), provenance={"made_by": "tests"})
    return path


def test_a_scene_in_bytes_gets_the_labels_of_the_scene_in_float(engine, monkeypatch):
    scene = np.random.default_rng(4).normal(0, 3, (BANDS, 151, 203)).astype(np.float32)
    scene[:, 40:60, 70:99] = np.nan
    asked = {"precision": "int8", "tile": 48, "batch": 3, "threads": 2}
    with Segmenter(engine, **asked) as segmenter:
        assert segmenter._engine.pixel_bytes is not None
        found = segmenter.run(scene, "dn")
    monkeypatch.setattr("hfd_edge.engine.onnxruntime.with_byte_input", lambda *_: None)
    with Segmenter(engine, **asked) as segmenter:
        assert segmenter._engine.pixel_bytes is None
        expected = segmenter.run(scene, "dn")
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert {*found.labels.ravel()} == {*range(CLASSES), 255}


def test_an_engine_of_bytes_refuses_a_tile_that_has_no_cells(engine):
    with Package.open(engine) as package:
        made = OnnxRuntimeEngine(package, "graph-int8-cpu.onnx", 1)
        with pytest.raises(EngineError, match=r"\(1, 2, 7, 8\).*both sides of the tile even"):
            made.infer(np.zeros((1, BANDS, 7, 8), np.float32))
        made.close()
