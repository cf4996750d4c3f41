"""TensorRT-RTX builds a plan of a network that is told of the whole scene, through our builder; it needs no torch, but is in this tier."""

import onnx
import pytest

from hfd_edge.engine.onnx_scene import with_scene_input
from hfd_edge.engine.tensorrt_build import BuildOptions, build_plan, check_network, plan_key, plan_shapes
from hfd_edge.engine.tensorrt_capabilities import load_tensorrt, target_gpu
from hfd_edge.errors import EngineError
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.package import Package
from tests.test_scene_vector import SPEC, told_network
from tests.with_torch.test_told_half import half_plan

pytestmark = pytest.mark.needs_tensorrt_rtx
GRAPH = "graph-fp32.onnx"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    onnx.save(told_network(), folder / "net.onnx")
    (folder / "spec.yaml").write_text(SPEC)
    package_foreign(folder / "net.onnx", folder / "spec.yaml", folder / "net.engine", ForeignOptions(measure=False, plan=half_plan(folder)))
    with Package.open(folder / "net.engine") as opened:
        yield opened


def network_of(trt, data):
    """(network, what must be kept with it) of a graph, as the builder parses it."""
    logger = trt.module.Logger(trt.module.Logger.ERROR)
    builder = trt.module.Builder(logger)
    network = builder.create_network(1 << int(trt.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.module.OnnxParser(network, logger)
    assert parser.parse(data), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    return network, (logger, builder, parser)


@pytest.mark.parametrize("graph", [GRAPH, "graph-fp16-trt.onnx"])
def test_tensorrt_builds_a_plan_with_two_inputs(package, graph):
    trt, steps = load_tensorrt("tensorrt_rtx"), []
    network, kept = network_of(trt, with_scene_input(bytes(package.read(graph))))
    assert check_network(network, trt.module, package.spec, "graph") == "pixels"
    assert [(network.get_input(i).name, tuple(network.get_input(i).shape)) for i in range(network.num_inputs)] == [
        ("pixels", (-1, 2, -1, -1)), ("scene", (1, 6))]
    del network, kept
    key = plan_key(package, graph, plan_shapes(package, (128, 64), 4), trt, target_gpu(trt))
    built = build_plan(trt, package, key, BuildOptions(progress=lambda *step: steps.append(step)))
    assert built.plan[:4] == b"vtrt" and len(built.plan) > 10_000 and steps and not built.warnings, built.warnings


def test_tensorrt_takes_an_input_with_a_default_for_a_constant(package):
    trt = load_tensorrt("tensorrt_rtx")
    network, _ = network_of(trt, bytes(package.read(GRAPH)))
    assert network.num_inputs == 1
    with pytest.raises(EngineError, match="has inputs pixels and 1 outputs: an engine here takes one and 'scene'"):
        check_network(network, trt.module, package.spec, "graph")
