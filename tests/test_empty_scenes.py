"""A scene without one valid pixel: refused as a whole, in memory and on disk, and a map of nodata where that is asked for."""

import json
import os

import numpy as np
import onnx
import pytest

from hfd_edge.errors import ExportError, RadiometryError
from hfd_edge.export.calibration_data import DataScene, halves, tiles_of
from hfd_edge.export.compare import compare_engines
from hfd_edge.export.compare_page import write_report
from hfd_edge.export.foreign import package_foreign
from hfd_edge.package import Package
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterSource
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from tests.command import failed, run
from tests.engines import plain_input, random_engine
from tests.rasters import write_tif
from tests.test_scene_vector import SPEC, told_network

SHAPE = (2, 60, 70)


def told_engine(path):
    onnx.save(told_network(), path.with_suffix(".onnx"))
    path.with_suffix(".yaml").write_text(SPEC)
    package_foreign(path.with_suffix(".onnx"), path.with_suffix(".yaml"), path)
    return path


def filtered_engine(path):
    return random_engine(path, input=plain_input(2, unit="db", floor=-35.0, speckle_filter="lee_sigma", filter_radius=3, filter_looks=4.0))


ENGINES = {"plain": lambda path: random_engine(path, input=plain_input(2, unit="db", floor=-35.0)), "told of the scene": told_engine,
           "behind a filter that is": filtered_engine}


@pytest.fixture(params=ENGINES)
def engine(request, tmp_path):
    return ENGINES[request.param](tmp_path / "made.engine")


def empty(kind):
    """(pixels, valid, declaration) of a scene that has no pixel, for one reason or another."""
    bright = np.full(SHAPE, 0.05, np.float32)
    nothing, plain = np.full(SHAPE, np.nan, np.float32), SourceRadiometry("intensity")
    return {"NaN": (nothing, None, plain), "mask": (bright, np.zeros(SHAPE[1:], bool), plain),
            "nodata": (np.zeros(SHAPE, np.float32), None, SourceRadiometry("intensity", nodata=(0.0,))),
            "one band": (np.stack([bright[0], nothing[1]]), None, plain)}[kind]


@pytest.mark.parametrize("kind", ["NaN", "mask", "nodata", "one band"])
def test_an_array_is_refused_or_on_request_all_nodata_and_says_so(engine, kind):
    pixels, valid, declared = empty(kind)
    with Segmenter(engine) as segmenter:
        with pytest.raises(RadiometryError, match=r"not one of the 60 x 70 pixels is valid.*mosaic, allow_empty=True gives"):
            segmenter.run(pixels, declared, valid)
        result = segmenter.run(pixels, declared, valid, allow_empty=True)
    assert (result.labels == 255).all() and (result.confidence == 255).all()
    assert result.report.tiles_run == 0 and result.report.nodata_share == 1 and result.report.nan_pixels == 0
    assert any("not one of the 60 x 70 pixels is valid" in note for note in result.report.notes)


def test_a_raster_is_refused_as_its_array_is_and_on_request_all_nodata(engine, tmp_path):
    scene, to = write_tif(tmp_path / "scene.tif", empty("NaN")[0]), tmp_path / "map.tif"
    with Segmenter(engine) as segmenter:
        with pytest.raises(RadiometryError, match=r"not one of the 60 x 70 pixels is valid.*mosaic, allow_empty=True gives"):
            segmenter.run_raster(scene, to, unit="intensity")
        assert not to.exists()
        report = segmenter.run_raster(scene, to, unit="intensity", allow_empty=True)
    assert any("not one of the" in note for note in report.notes)
    with RasterSource(to) as labels:
        assert not labels.read(0, 60)[1].any()


def test_a_window_may_hold_nothing_whatever_its_scene_and_says_so(engine, tmp_path):
    pixels = np.random.default_rng(0).gamma(4.4, 0.02, SHAPE).astype(np.float32)
    pixels[:, :30] = np.nan
    for name, scene in (("half", pixels), ("all", empty("NaN")[0])):
        with Segmenter(engine) as segmenter:
            report = segmenter.run_raster(write_tif(tmp_path / f"{name}.tif", scene), tmp_path / f"{name}.map.tif", unit="intensity",
                                          window=(2, 3, 20, 30))
        assert (report.nodata_share, report.tiles_run) == (1, 0) and any("not one of the 20 x 30 pixels is valid" in note for note in report.notes)


def test_one_valid_pixel_is_a_scene(engine):
    pixels = empty("NaN")[0].copy()
    pixels[:, 20, 30] = 0.05
    with Segmenter(engine) as segmenter:
        result = segmenter.run(pixels, "intensity")
    assert (result.labels != 255).sum() == 1 and result.labels[20, 30] != 255
    assert not any("not one of" in note for note in result.report.notes)


def test_the_command_fails_without_the_option_and_draws_the_empty_map_with_it(tmp_path):
    pytest.importorskip("cv2")
    scene, engine = write_tif(tmp_path / "scene.tif", empty("NaN")[0]), ENGINES["plain"](tmp_path / "made.engine")
    words = ("predict", scene, engine, "-o", tmp_path / "map.tif", "--unit", "intensity", "--quicklook", tmp_path / "map.png")
    failed(run(*words), "not one of the 60 x 70 pixels", "--allow-empty")
    assert {*os.listdir(tmp_path)} == {"scene.tif", "made.engine"}
    done = run(*words, "--allow-empty", "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert json.loads(done.stdout)["nodata_share"] == 1 and (tmp_path / "map.png").stat().st_size


@pytest.mark.parametrize("kind", ["plain", "told of the scene", "behind a filter that is"])
def test_a_verb_without_the_option_does_not_name_it(kind, tmp_path):
    scene, engine = write_tif(tmp_path / "scene.tif", empty("NaN")[0]), ENGINES[kind](tmp_path / "made.engine")
    done = run("seams", scene, engine, "--unit", "intensity")
    failed(done, *(["give a part of the scene with pixels"] if kind == "plain" else
                   ["not one of the 60 x 70 pixels is valid", "give a scene that has valid pixels"]))
    assert "allow" not in done.stderr


def test_an_empty_scene_is_left_out_of_a_comparison_with_a_note_and_none_but_empty_ones_are_refused(engine, tmp_path):
    (tmp_path / "in").mkdir()
    lit = write_tif(tmp_path / "in/lit.tif", np.random.default_rng(0).gamma(4.4, 0.02, SHAPE).astype(np.float32))
    dark = write_tif(tmp_path / "in/dark.tif", empty("nodata")[0], nodata=0)
    declared = RasterOptions(unit="intensity")
    found = compare_engines(engine, engine, [tmp_path / "in"], declared, rounds=1)
    assert [scene.name for scene in found.scenes] == ["lit.tif"] and found.pixels == 60 * 70
    (note,) = found.to_dict()["notes"]
    assert note.startswith("1 of 2 scenes left out") and note.endswith(": dark.tif")
    pages = {path.suffix: path.read_bytes() for path in write_report(tmp_path / "report", found)}
    assert all(note.encode() in pages[kind] for kind in (".html", ".md", ".json"))
    with pytest.raises(ExportError, match="dark.tif: not one pixel is valid.*give other scenes") as refused:
        compare_engines(engine, engine, [dark], declared)
    assert "allow" not in str(refused.value) and compare_engines(engine, engine, [lit], declared, rounds=1).notes == ()


def test_tiles_of_half_a_scene_without_a_pixel_are_refused_with_the_way_out(engine):
    pixels = np.random.default_rng(0).gamma(4.4, 0.02, SHAPE).astype(np.float32)
    pixels[:, 30:] = np.nan
    with Package.open(engine) as package:
        spec = package.spec
    (upper,), (lower,) = halves([DataScene("one", ArraySource(pixels, 2), SourceRadiometry("intensity"), None)])
    assert list(tiles_of([upper], spec, 64))
    if spec.scene_percentiles or spec.input.speckle_filter != "none":
        with pytest.raises(ExportError, match="one rows 30 to 59: not one of the 30 x 70 pixels.*give more scenes"):
            list(tiles_of([lower], spec, 64))
