"""A network that is told of the whole scene through a second input: one vector per scene, so tiled still equals whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hfd_edge.errors import EngineError, ExportError, RadiometryError, SpecError
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.measure.tiling import stitched_logits, whole_request
from hfd_edge.package import Package
from hfd_edge.package.again import write_again
from hfd_edge.plan import PlanRequest
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.source.vector import scene_vector
from tests.engines import make_spec, plain_input
from tests.foreign_networks import Foreign, kernel

DB = {"unit": "db", "mean": (-12.0, -19.0), "std": (4.0, 5.0), "floor": -35.0, "clip": ((-30.0, 5.0), (-35.0, 0.0))}
SPEC = """\
name: told
bands: [VV, VH]
input: {unit: db, mean: [-12, -19], std: [4, 5], floor: -35, clip: [[-30, 5], [-35, 0]]}
classes: [water, land, ship]
colors: ["#1f6fb4", [1, 2, 3], [200, 100, 50]]
tile_px: 128
scene_percentiles: [2, 50, 98]
"""


def told_network(numbers: int = 6, name: str = "context", shape=("n",), used: bool = True) -> onnx.ModelProto:
    """Stride 2; the vector becomes an offset of each of 8 channels, in front of a rectifier."""
    rng, g = np.random.default_rng(1), Foreign(2)
    g.conv(kernel(rng, 8, 2), stride=2)
    features = g.x
    if used:
        offset = g.op("MatMul", name, g.weight(rng.normal(size=(numbers, 8)).astype(np.float32)))
        offset = g.op("Unsqueeze", offset, g.weight(np.array([2, 3])))
        g.op("Add", features, offset)
    g.op("Relu", g.x)
    g.conv(kernel(rng, 8, 8))
    g.op("Relu", g.x)
    g.conv(kernel(rng, 3, 8, 1) * 3)
    ends = [helper.make_tensor_value_info(*end) for end in ((name, TensorProto.FLOAT, (*shape, numbers)),      # before the image
                                                            ("pixels", TensorProto.FLOAT, ("n", 2, "h", "w")),
                                                            (g.x, TensorProto.FLOAT, [None] * 4))]
    graph = helper.make_graph(g.nodes, "main_graph", ends[:2], ends[2:], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    onnx.save(told_network(), folder / "net.onnx")
    (folder / "spec.yaml").write_text(SPEC)
    package_foreign(folder / "net.onnx", folder / "spec.yaml", folder / "net.engine")
    return folder / "net.engine"


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(2)
    level = np.array([0.06, 0.012])[:, None, None] * np.linspace(0.2, 4, 300)[None, :, None]      # darker at the top
    power = (level * rng.gamma(4.4, 1 / 4.4, (2, 300, 260))).astype(np.float32)
    power[:, 40:60, 30:90] = np.nan
    return power


def vector_of(scene, unit="intensity", **changes):
    spec = make_spec(2, 3, 2, 2, 10, input=plain_input(2, **DB), scene_percentiles=(2, 50, 98), **changes)
    return scene_vector(ArraySource(scene, 2), SourceRadiometry(unit), spec, 2)


def test_the_vector_is_the_percentiles_of_the_scene_as_the_network_sees_pixels(scene):
    good = scene[:, np.isfinite(scene).all(axis=0)].astype(float)
    wanted = np.percentile(good, [2, 50, 98], axis=1).T                                 # (bands, percentiles)
    expected = (10 * np.log10(wanted) - np.array([[-12], [-19]])) / np.array([[4], [5]])
    found = vector_of(scene)
    assert found.shape == (1, 6) and found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(2, 3), expected, atol=0.035 / 4)           # a bin is 0.8 %, 0.034 dB
    decibel = (10 * np.log10(scene)).astype(np.float32)
    np.testing.assert_allclose(vector_of(decibel, "db"), found, atol=0.035 / 4)
    with pytest.raises(RadiometryError, match="not one of the"):
        vector_of(np.full_like(scene, np.nan))


def test_the_vector_is_the_same_whatever_the_strips_and_threads(scene, monkeypatch):
    first = vector_of(scene)
    monkeypatch.setattr("hfd_edge.source.vector._STRIP_PX", 2 * 260 * 7)
    np.testing.assert_array_equal(vector_of(scene), first)
    flipped = np.ascontiguousarray(scene[:, ::-1])
    np.testing.assert_array_equal(vector_of(flipped), first)


def test_tiles_equal_the_whole_and_are_told_of_the_scene(engine, scene):
    scene = np.where(np.isnan(scene), np.float32(0.01), scene)              # stitched_logits leaves tiles without a pixel out
    with Segmenter(engine) as segmenter:
        assert segmenter.spec.scene_percentiles == (2, 50, 98) and segmenter.spec.reach_bounded
        whole = stitched_logits(segmenter, scene, whole_request(segmenter, 300, 260), "intensity")
        for tile in (32, 64, (48, 96)):
            tiled = stitched_logits(segmenter, scene, PlanRequest(tile=tile, batch=3), "intensity")
            np.testing.assert_array_equal(tiled, whole)
        part = stitched_logits(segmenter, np.ascontiguousarray(scene[:, :100]), PlanRequest(tile=64), "intensity")
    differs = np.abs(part[:, :40] - whole[:, :40])
    assert np.nanmax(differs) > 0.1, "a vector of each part of the scene would be another one: that is why there is one per scene"


def test_a_window_is_told_of_the_whole_scene(engine, scene):
    with Segmenter(engine, tile=64) as segmenter:
        whole, got = segmenter.run(scene, "intensity"), []
        segmenter.run_source(ArraySource(scene, 2), SourceRadiometry("intensity"), lambda *made: got.append(made[1]),
                             window=(10, 20, 60, 70))
        assert "scene" in whole.timings
    np.testing.assert_array_equal(np.concatenate(got), whole.labels[10:70, 20:90])


def test_the_graph_answers_zeros_where_it_is_told_nothing_and_the_vector_where_it_is(engine):
    import onnxruntime
    with Package.open(engine) as package:
        session = onnxruntime.InferenceSession(bytes(package.read("graph-fp32.onnx")))
        pixels, vector = np.zeros((2, 2, 32, 32), np.float32), np.full((1, 6), 0.7, np.float32)
        alone, zeros = session.run(None, {"pixels": pixels})[0], session.run(None, {"pixels": pixels, "scene": 0 * vector})[0]
        np.testing.assert_array_equal(alone, zeros)
        assert np.abs(session.run(None, {"pixels": pixels, "scene": vector})[0] - alone).max() > 0.1


def test_an_engine_that_cannot_be_told_is_not_used(engine, scene, monkeypatch):
    monkeypatch.setattr("hfd_edge.engine.onnxruntime.OnnxRuntimeEngine.takes_scene", False)
    with Segmenter(engine) as segmenter, pytest.raises(EngineError, match="told of the whole scene"):
        segmenter.run(scene, "intensity")


def test_spec_and_graph_must_agree(engine, tmp_path):
    with Package.open(engine) as package:
        write_again(package, tmp_path / "two.engine", replace(package.spec, scene_percentiles=(2, 98)), {})
    with pytest.raises(EngineError, match=r"takes \[1, 6\].*make \[1, 4\]"):
        Segmenter(tmp_path / "two.engine")


@pytest.mark.parametrize(("network", "spec", "words"), [
    (told_network(5), SPEC, "make percentiles and input agree"),
    (told_network(shape=(4,)), SPEC, "make percentiles and input agree"),
    (told_network(used=False), SPEC, "nothing reads input 'context'"),
    (told_network(), SPEC.replace("scene_percentiles: [2, 50, 98]\n", ""), "has 2 inputs"),
    (told_network(), SPEC.replace("[2, 50, 98]", "[98, 2, 50]"), "that rise"),
    (told_network(), SPEC.replace("[2, 50, 98]", "[]"), "a list of rising numbers"),
    (told_network(), SPEC.replace("{unit: db, mean: [-12, -19], std: [4, 5], floor: -35, clip: [[-30, 5], [-35, 0]]}",
                                  "{unit: dn, mean: [0, 0], std: [1, 1]}"), "unit=dn")])
def test_what_cannot_be_told_is_refused(network, spec, words, tmp_path):
    onnx.save(network, tmp_path / "net.onnx")
    (tmp_path / "spec.yaml").write_text(spec)
    with pytest.raises((ExportError, SpecError), match=words):
        package_foreign(tmp_path / "net.onnx", tmp_path / "spec.yaml", tmp_path / "net.engine", ForeignOptions(measure=False))
    assert not (tmp_path / "net.engine").exists()
