"""The copy for QGIS Deepness, used as Deepness uses it, gives the map that hfd_edge gives."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from hfd_edge.errors import ExportError
from hfd_edge.export.qgis import qgis_graph, tile_and_overlap, write_qgis
from hfd_edge.segmenter import Segmenter
from hfd_edge.spec import ModelInput
from tests.command import failed, run
from tests.engines import levels_engine, make_spec, random_engine
from tests.foreign_networks import SPEC, deeplab, save

DECIBEL = ModelInput(unit="db", mean=(-12.0, -18.0), std=(5.0, 6.0), floor=-30.0, clip=((-28.0, 2.0), (-30.0, -3.0)))


def deepness(path, image):
    """What the plugin does with one tile (rows, cols, bands) of any type: labels, and the class names it shows.

    Written after its model_base.py, preprocessing_utils.py and map_processor_segmentation.py, in its order of steps.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    keys = session.get_modelmeta().custom_metadata_map
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    assert json.loads(keys["model_type"]).capitalize() == "Segmentor"
    assert source.shape[0] == 1 and source.shape[2] == source.shape[3] == json.loads(keys["tile_size"])
    assert len(target.shape) == 4 and target.shape[2:] == source.shape[2:]
    names = sorted(json.loads(keys["class_names"]).items(), key=lambda pair: int(pair[0]))
    assert [int(key) for key, _ in names] == list(range(target.shape[1]))
    batch = np.float32(image[None, :, :, :source.shape[1]] * 1. / 255.)
    mean, std = (np.array(json.loads(keys[f"standardization_{part}"]), np.float32) for part in ("mean", "std"))
    batch = np.transpose((batch - mean) / std, (0, 3, 1, 2)).astype(np.float32)
    result = session.run(None, {source.name: batch})[0]
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-5)
    result[result < json.loads(keys["seg_thresh"])] = 0
    return np.argmax(result, axis=1)[0], [name for _, name in names]


def scene(side, seed=0):
    """(bands, rows, cols) float32, linear power with some zeros, so that floor and clip matter."""
    power = np.random.default_rng(seed).gamma(1.0, 0.05, (2, side, side)).astype(np.float32)
    power[:, ::7, ::5] = 0
    return power


@pytest.mark.parametrize("unit", ["intensity", "amplitude", "db"])
def test_deepness_gets_the_same_map_from_any_unit(unit, tmp_path):
    engine = random_engine(tmp_path / "m.engine", input=DECIBEL, pixel_spacing_m=10.0)
    metadata = write_qgis(engine, tmp_path / "q.onnx", unit=unit)
    assert json.loads(metadata["resolution"]) == 1000 and json.loads(metadata["tiles_overlap"]) == 50
    side = json.loads(metadata["tile_size"])
    power = scene(side)
    pixels = {"intensity": power, "amplitude": np.sqrt(power), "db": 10 * np.log10(np.maximum(power, 1e-9))}[unit].astype(np.float32)
    found, names = deepness(tmp_path / "q.onnx", pixels.transpose(1, 2, 0))
    with Segmenter(engine) as segmenter:
        expected, halo = segmenter.run(power, unit="intensity").labels, segmenter.spec.halo_px
        assert names == list(segmenter.spec.classes)
    inner = np.s_[halo:-halo, halo:-halo]
    assert np.mean(found[inner] != expected[inner]) < 2e-3 and len(np.unique(expected[inner])) > 1


def test_eight_bit_pixels_and_nodata(tmp_path):
    engine = levels_engine(tmp_path / "m.engine", 7)
    write_qgis(engine, tmp_path / "q.onnx")
    image = np.random.default_rng(1).integers(0, 7, (64, 64, 1), np.uint8)
    found, _ = deepness(tmp_path / "q.onnx", image)
    np.testing.assert_array_equal(found, image[..., 0])
    holes = image.astype(np.float32)
    holes[10:20, 10:20] = np.nan
    found, _ = deepness(tmp_path / "q.onnx", holes)
    assert (found[10:20, 10:20] == 0).all() and (found[20:] == image[20:, :, 0]).all()


def test_overlap_covers_the_halo_and_a_fixed_tile_stays():
    for reach in (0, 1, 40, 100, 320):
        spec = make_spec(2, 3, 8, 4, reach)
        tile, overlap = tile_and_overlap(spec)
        assert tile % 8 == 0 and tile * overlap / 100 >= 2 * spec.halo_px and overlap <= 50
    fixed = make_spec(2, 3, 8, 4, 40, tile_px=96, fixed_tile=True)
    assert tile_and_overlap(fixed) == (96, 84)
    with pytest.raises(ExportError, match="tiles of 8000 px"):
        tile_and_overlap(make_spec(2, 3, 8, 4, 2000))


def test_units_that_convert_to_nothing_and_names_that_clash(tmp_path):
    engine = levels_engine(tmp_path / "m.engine", 7)
    with pytest.raises(ExportError, match="unit=db for a network trained on dn"):
        write_qgis(engine, tmp_path / "q.onnx", unit="db")
    assert not (tmp_path / "q.onnx").exists()
    graph = onnx.load_from_string(deeplab().SerializeToString())
    for node in graph.graph.node:
        node.output[:] = ["image" if name == graph.graph.node[0].output[0] else name for name in node.output]
        node.input[:] = ["image" if name == "t0" else name for name in node.input]
    data, _ = qgis_graph(graph.SerializeToString(), make_spec(2, 3, 4, 4, 16))
    onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_the_command_writes_it_beside_the_package(tmp_path):
    network, spec = save(tmp_path, deeplab(), SPEC + "pixel_spacing_m: 5\n")
    done = run("package", network, "--spec", spec, "-o", tmp_path / "net.engine", "--qgis", tmp_path / "q.onnx")
    assert done.returncode == 0 and "QGIS Deepness" in done.stdout, done.stdout + done.stderr
    found, names = deepness(tmp_path / "q.onnx", np.random.default_rng(0).normal(size=(128, 128, 2)).astype(np.float32))
    assert names == ["water", "land", "ship"] and len(np.unique(found)) > 1
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "other.engine", "--qgis", tmp_path / "q.onnx"), "q.onnx", "exists")
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "other.engine", "--qgis", network, "--overwrite"), "net.onnx", "a name of its own")
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "other.engine", "--qgis", tmp_path / "q.engine"), "the suffix .onnx")
    assert not (tmp_path / "other.engine").exists()
