"""TensorRT-RTX builds plans without a GPU, so our builder is proved on every graph that is made for TensorRT."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from quantized import demo, ranges

from hfd_edge.engine.tensorrt_build import BuildOptions, build_plan, plan_key, plan_shapes
from hfd_edge.engine.tensorrt_cache import PlanCache
from hfd_edge.engine.tensorrt_capabilities import Gpu, load_tensorrt, target_gpu
from hfd_edge.engine.tensorrt_find import PlanPolicy, find_plan
from hfd_edge.errors import EngineError
from hfd_edge.export.golden import golden_labels
from hfd_edge.export.quantize_trt import to_fp16_trt, to_int8_trt
from hfd_edge.package import Golden, Package, write_package
from hfd_edge.plan.device import usual_tile_px, wide_tile_px
from tests.command import failed, run
from tests.engines import Graph, make_spec, write_engine
from tests.test_tensorrt_plans import silent

pytestmark = pytest.mark.needs_tensorrt_rtx
PRECISIONS = {"graph-fp32.onnx": "fp32", "graph-fp16-trt.onnx": "fp16", "graph-int8-trt.onnx": "int8"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The demo engine with every graph that TensorRT runs."""
    path, (graph, spec) = tmp_path_factory.mktemp("rtx") / "m.engine", demo()
    graphs = {"graph-fp32.onnx": graph, "graph-fp16-trt.onnx": to_fp16_trt(graph, ranges()), "graph-int8-trt.onnx": to_int8_trt(graph, ranges())}
    pixels = np.random.default_rng(5).normal(size=(len(spec.bands), 64, 64)).astype(np.float32)
    write_package(path, spec, graphs, Golden(pixels, {name: golden_labels(data, pixels) for name, data in graphs.items()}), {"made_by": "tests"})
    return path


@pytest.mark.parametrize("graph", PRECISIONS)
def test_our_builder_makes_a_plan_of_every_graph_and_keeps_it_under_its_key(engine, tmp_path, graph):
    said, steps = [], []
    trt, cache = load_tensorrt("tensorrt_rtx"), PlanCache(tmp_path / "plans")
    policy = PlanPolicy(cache=cache, say=said.append, options=BuildOptions(progress=lambda *step: steps.append(step)))
    with Package.open(engine) as package:
        shapes = plan_shapes(package, (128, 64), 4)
        found = find_plan(trt, package, graph, shapes, policy)
        key = plan_key(package, graph, shapes, trt, target_gpu(trt))
        assert found.key == key and found.source == "built" and found.plan[:4] == b"vtrt" and len(found.plan) > 100_000
        assert (key.precision, key.library, key.gpu, key.driver) == (PRECISIONS[graph], "tensorrt_rtx", "portable", 0)
        assert key.graph_sha256 == package.manifest["members"][graph]["sha256"] and key.shape == "4x128x64"
        assert [cached.key for cached in cache.plans()] == [key] and "building a plan" in said[0] and "MB" in said[1] and len(said) == 2
        again = find_plan(trt, package, graph, shapes, PlanPolicy("never", cache=cache, say=silent))
        assert again.source == "cache" and again.plan == found.plan
        with pytest.raises(EngineError, match="batch 4, here 2.*hfd-edge build .* --tile 128,64 --max-batch 2"):
            find_plan(trt, package, graph, plan_shapes(package, (128, 64), 2), PlanPolicy("never", cache=cache, say=silent))
    assert steps[0][1] == 0 and steps[-1][1] == steps[-1][2] > 0


def test_build_embeds_and_inspect_shows_in_a_process_of_its_own(engine, tmp_path):
    import os
    import shutil
    path, env = tmp_path / "own.engine", {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    shutil.copy(engine, path)
    done = run("build", path, "--precision", "int8", "--tile", 64, "--max-batch", 2, "--library", "tensorrt_rtx", "--embed", "--json", env=env)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (made,) = report["plans"]
    assert made["source"] == "built" and report["cache_bytes"] == made["plan_bytes"] and "building a plan" in done.stderr
    with Package.open(path) as package:
        assert list(package.plans) == report["embedded"] and len(package.read(report["embedded"][0])) == made["plan_bytes"]
        usual, wide = usual_tile_px(package.spec), wide_tile_px(package.spec)
    shown = run("inspect", path, env=env).stdout
    assert shown.count("int8, tiles 2x64x64, portable") == 2 and "only with --trust-plans" in shown
    plan = run("plan", path, "-o", tmp_path / "bare.plan", "--precision", "int8", "--tile", 64, "--max-batch", 2, env=env)
    assert plan.returncode == 0 and "--shapes=pixels:2x2x64x64" in plan.stdout and not plan.stderr      # from the cache: nothing to say
    failed(run("plan", path, "-o", tmp_path / "bare.plan", env=env), "exists", "--overwrite")
    failed(run("inspect", tmp_path / "bare.plan"), "bare TensorRT plan")
    failed(run("build", path, "--workspace", "1", "--tile", 65, env=env), "stride")
    done = run("build", path, "--precision", "int8", "--library", "tensorrt_rtx", env=env)
    assert f"tiles 8x{usual}x{usual}" in done.stdout and f"tiles 1x{wide}x{wide}" in done.stdout, done.stderr


def test_a_graph_whose_channels_are_not_the_specs_is_refused_before_it_is_built(tmp_path):
    graph = Graph(3)
    graph.conv(np.arange(12).reshape(4, 3, 1, 1) - 5)
    spec = make_spec(3, 4, 1, 1, 0)
    path = write_engine(tmp_path / "m.engine", graph.serialize(), spec)
    trt = load_tensorrt("tensorrt_rtx")
    with Package.open(path) as package:
        package.spec = make_spec(2, 4, 1, 1, 0)
        key = plan_key(package, "graph-fp32.onnx", plan_shapes(package, (64, 64), 2), trt, Gpu("portable", "portable", 0))
        with pytest.raises(EngineError, match=r"input pixels of type .* and shape \(-1, 3.*the spec says float32 and 2 channels"):
            build_plan(trt, package, key, BuildOptions())


def test_what_the_parser_refuses_is_told_in_full(tmp_path):
    """ConvTranspose with a weight of the wrong size: legal as a file, wrong as a network."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 9, 1, 1), [0.0] * 36)
    nodes = [helper.make_node("Conv", ["pixels", "w"], ["logits"], name="the_wrong_one")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", c, "h", "w_"]) for name, c in (("pixels", 2), ("logits", 4))]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    spec, pixels = make_spec(2, 4, 1, 1, 0), np.zeros((2, 64, 64), np.float32)
    write_package(tmp_path / "m.engine", spec, {"graph-fp32.onnx": model.SerializeToString()},
                  Golden(pixels, {"graph-fp32.onnx": np.zeros((64, 64), np.uint8)}), {})
    trt = load_tensorrt("tensorrt_rtx")
    with Package.open(tmp_path / "m.engine") as package:
        key = plan_key(package, "graph-fp32.onnx", plan_shapes(package, (64, 64), 2), trt, target_gpu(trt))
        with pytest.raises(EngineError) as caught:
            build_plan(trt, package, key, BuildOptions())
    assert all(word in str(caught.value) for word in ("the_wrong_one", "node_operator", "Conv", "--target cpu,tensorrt")), caught.value


def test_the_signatures_that_we_call_are_the_bindings_own():
    """Parameters of every overload, as pybind11 wrote them into the docstrings."""
    import re

    import tensorrt_rtx as trt

    from tests.tensorrt_signatures import CALLBACKS, MEMBERS, RTX_SIGNATURES, SIGNATURES
    for name, parameters in {**SIGNATURES, **RTX_SIGNATURES, **CALLBACKS}.items():
        owner, _, attribute = name.partition(".")
        found = getattr(getattr(trt, owner), attribute)
        if parameters is None:
            assert isinstance(found, property), name
            continue
        overloads = re.findall(rf"{attribute}\(self: [^,)]+(.*?)\) -> ", found.__doc__)
        assert overloads, (name, found.__doc__)
        assert parameters in [tuple(re.findall(r"(?:^|, )(\w+): ", words)) for words in overloads], (name, overloads)
    for owner, names in MEMBERS.items():
        assert all(hasattr(getattr(trt, owner), member) for member in names), owner
