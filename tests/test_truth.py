"""A truth is read in the engine's class numbers: by name where the file names its classes, by number elsewhere, or it is refused."""

import json

import numpy as np
import pytest

from hfd_edge.errors import ArrayError, ExportError, RasterError
from hfd_edge.export import compare as compare_module
from hfd_edge.export.compare import compare_engines
from hfd_edge.raster import RasterPart, RasterSource, TruthSource
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster_run import RasterOptions
from tests.command import failed, run
from tests.rasters import write_tif
from tests.test_compare import engine as package

NAMES = tuple(f"class {i}" for i in range(5))                   # of the engines here, whose label is the pixel's value
SHUFFLED = ("swamp", "class 3", "class 1", "class 0", "class 4", "class 2")
OURS = np.arange(70, dtype=np.uint8).reshape(1, 7, 10) % 5
THEIRS = np.array([3, 2, 5, 1, 4], np.uint8)[OURS]              # the same classes in the numbers of SHUFFLED


def tagged(path, labels, names=None):
    return write_tif(path, labels, nodata=255, tags={} if names is None else {"HFD_CLASSES": names if isinstance(names, str) else json.dumps(names)})


@pytest.fixture
def engines(tmp_path):
    return package(tmp_path / "old.engine", {}), package(tmp_path / "new.engine", {}, offset=1.5)


@pytest.fixture
def scene(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    return write_tif(folder / "scene.tif", OURS.astype(np.float32), tags={"HFD_UNIT": "dn"})


def test_classes_are_taken_by_name_whatever_their_numbers(tmp_path):
    holed = THEIRS.copy()
    holed[0, 2, 3] = 255
    with TruthSource(tagged(tmp_path / "t.tif", holed, SHUFFLED), NAMES) as truth:
        expected = np.where(holed == 255, 255, OURS)[0]
        np.testing.assert_array_equal(truth.read(0, 7)[0][0], expected)
        np.testing.assert_array_equal(RasterPart(truth, (2, 1, 3, 6)).read(1, 2)[0][0], expected[3:5, 1:7])
        truth.check()


def test_without_names_numbers_are_the_engines(tmp_path):
    with TruthSource(tagged(tmp_path / "t.tif", OURS), NAMES) as truth:
        np.testing.assert_array_equal(truth.read(0, 7)[0], OURS)


def test_a_class_that_the_engine_does_not_have_is_refused_by_its_name_and_number(tmp_path):
    labels = THEIRS.copy()
    labels[0, 6, 9] = 0
    named = tagged(tmp_path / "named.tif", labels, SHUFFLED)
    with TruthSource(named, NAMES) as truth, pytest.raises(RasterError, match=r"label 0 \(swamp\).*0 class 0, 1 class 1.*tag HFD_CLASSES off"):
        truth.check()
    with TruthSource(tagged(tmp_path / "bare.tif", OURS + 1), NAMES) as truth, pytest.raises(RasterError, match="label 5, and .*matched by name"):
        truth.read(0, 7)
    with TruthSource(tagged(tmp_path / "short.tif", OURS, NAMES[:3]), NAMES) as truth, pytest.raises(RasterError, match="label 3 .without a name"):
        truth.read(0, 7)


@pytest.mark.parametrize("tag", ["water, land", "[1, 2]", "{}", "[]"])
def test_a_tag_that_is_no_list_of_names_is_refused(tmp_path, tag):
    with pytest.raises(RasterError, match="HFD_CLASSES.*JSON list"):
        TruthSource(tagged(tmp_path / "t.tif", OURS, tag), NAMES)


def test_what_the_file_calls_nodata_is_not_known(tmp_path):
    expected = np.where(OURS == 4, 255, OURS)[0]
    with TruthSource(write_tif(tmp_path / "t.tif", np.where(OURS == 4, 9, OURS).astype(np.uint8), nodata=9), NAMES) as truth:
        np.testing.assert_array_equal(truth.read(0, 7)[0][0], expected)
    swamp = np.where(OURS == 4, 0, THEIRS).astype(np.uint8)          # a class of the file that the engine does not have
    named = write_tif(tmp_path / "n.tif", swamp, nodata=0, tags={"HFD_CLASSES": json.dumps(SHUFFLED)})
    with TruthSource(named, NAMES) as truth:
        np.testing.assert_array_equal(truth.read(0, 7)[0][0], expected)


@pytest.mark.parametrize(("labels", "names", "nodata", "word"), [(OURS, None, 0, "class 0"), (OURS, None, 4, "class 4"), (THEIRS, SHUFFLED, 1, "class 3")])
def test_a_class_that_is_the_files_nodata_value_is_refused(tmp_path, labels, names, nodata, word):
    """gdal_rasterize -a_nodata 0 writes such files: without the pixels of one class its IoU is gone, and the others' false alarms there do not count."""
    path = write_tif(tmp_path / "t.tif", labels, nodata=nodata, tags={} if names is None else {"HFD_CLASSES": json.dumps(names)})
    with pytest.raises(RasterError, match=f"{nodata} is its nodata value, and {nodata} is the number of the engine's class {word}: .*-unsetnodata.*write 255"):
        TruthSource(path, NAMES)


def test_what_is_not_one_band_of_numbers_is_refused(tmp_path):
    real, whole = np.zeros((1, 7, 10), np.float32), OURS.astype(np.int16)
    for values, nodata, way in ((np.zeros((2, 7, 10), np.uint8), None, "gdal_translate -b NUMBER"), (whole, None, "gdal_translate -ot Byte keeps"),
                                (whole, 255, "gdal_translate -ot Byte"), (whole, -9999, "gdalwarp -ot Byte -srcnodata -9999 -dstnodata 255 keeps"),
                                (real, None, "gdalwarp -ot Byte -srcnodata nan"), (real, -1, "gdalwarp -ot Byte -srcnodata -1 ")):
        with pytest.raises(RasterError, match=f"one band of uint8 .*{way}"):
            TruthSource(write_tif(tmp_path / "t.tif", values, nodata=nodata), NAMES)


@pytest.mark.parametrize(("labels", "names"), [(OURS, None), (OURS, NAMES), (THEIRS, SHUFFLED)])
def test_two_engines_are_judged_by_the_truths_names(engines, scene, labels, names):
    tagged(scene.with_name("truth.tif"), labels, names)
    old, new = compare_engines(*engines, [scene], RasterOptions(unit="dn"), rounds=1).accuracy
    assert old.miou == 1 and new.iou[3] == 0 and new.pixels == 70


def test_a_truth_of_other_classes_is_refused_in_words_of_the_comparison_before_anything_runs(engines, scene, tmp_path, monkeypatch):
    truth = tagged(scene.with_name("truth.tif"), OURS, ("water", "bare soil", "cropland", "forest", "urban"))
    failed(run("compare", *engines, "--data", scene.parent, "-o", tmp_path / "report"), "truth.tif holds label 0 (water)", "0 class 0, 1 class 1",
           "translate", "move it from beside scene.tif")
    monkeypatch.setattr(compare_module, "_one_scene", lambda *_: pytest.fail("ran"))
    with pytest.raises(ExportError, match=r"^(?!.*alibrat).*$"):
        compare_engines(*engines, [scene.parent])
    truth.rename(tmp_path / "away.tif")
    monkeypatch.undo()
    assert compare_engines(*engines, [scene.parent], rounds=1).accuracy is None


@pytest.mark.parametrize(("shape", "error", "words"), [((2, 7, 10), ArrayError, "2 bands and the network takes 1"),
                                                       (None, ExportError, "simulated scenes have the bands")])
def test_scenes_that_do_not_fit_are_told_without_a_word_of_calibration(engines, tmp_path, shape, error, words):
    data = "simulated" if shape is None else write_tif(tmp_path / "two.tif", np.ones(shape, np.float32))
    with pytest.raises(error, match=words) as refused:
        compare_engines(*engines, [data], RasterOptions(unit="dn") if shape else None)
    assert "alibrat" not in str(refused.value)


@pytest.mark.parametrize("pixels", [0, 0.5, 1000])
def test_a_truth_beside_a_scene_lies_where_the_scene_lies(engines, tmp_path, pixels):
    there = GeoReference.north_up("EPSG:32633", 500_000, 5_400_000, 10)
    scene = write_tif(tmp_path / "s.tif", OURS.astype(np.float32), crs=there.crs, transform=there.transform, tags={"HFD_UNIT": "dn"})
    moved = there.shifted(0, pixels).transform
    truth = write_tif(tmp_path / "s_labels.tif", OURS, nodata=255, crs=there.crs, transform=moved)
    if not pixels:
        assert compare_engines(*engines, [scene], rounds=1).accuracy is not None
        return
    words = f"s_labels.tif and s.tif have one size but lie on different places, {pixels:.1f} pixels apart.*gdalwarp.*move it from beside s.tif"
    with pytest.raises(ExportError, match=words):
        compare_engines(*engines, [scene])
    failed(run("seams", scene, engines[0], "--truth", truth), "lie on different places")
    write_tif(truth, OURS, nodata=255)                              # without a place, the pixels are taken as they lie
    assert compare_engines(*engines, [scene], rounds=1).accuracy is not None


@pytest.mark.parametrize(("scenes_crs", "truths_crs", "off_px"), [
    ("EPSG:32633", None, 0), (None, "EPSG:32633", 0), (None, None, 0.4), ("EPSG:32633", "EPSG:32633", 0.01), ("EPSG:32633", "EPSG:32633", -0.45),
    ("EPSG:32633", "EPSG:25833", 0)])
def test_a_truth_less_than_half_a_pixel_off_or_in_other_words_for_the_same_place_is_taken(tmp_path, scenes_crs, truths_crs, off_px):
    place = GeoReference.north_up("EPSG:32633", 500_000, 5_400_000, 10)
    scene = write_tif(tmp_path / "s.tif", OURS.astype(np.float32), crs=scenes_crs, transform=place.transform)
    with RasterSource(scene) as source, TruthSource(write_tif(tmp_path / "t.tif", OURS, crs=truths_crs, transform=place.shifted(off_px, 0).transform),
                                                    NAMES) as truth:
        truth.check_place((source.rows, source.cols), source.geo, "s.tif")


@pytest.mark.parametrize(("crs", "off_px", "words"), [
    ("EPSG:32633", 0.5, "0.5 pixels apart"), (None, -3, "3.0 pixels apart"), ("EPSG:32634", 0, r"e\+04 pixels apart.*EPSG:32633 and EPSG:32634")])
def test_a_truth_half_a_pixel_off_or_more_is_refused_and_by_how_much(tmp_path, crs, off_px, words):
    place = GeoReference.north_up("EPSG:32633", 500_000, 5_400_000, 10)
    moved = write_tif(tmp_path / "t.tif", OURS, crs=crs, transform=place.shifted(off_px, 0).transform)
    with TruthSource(moved, NAMES) as truth, pytest.raises(RasterError, match=words):
        truth.check_place((7, 10), place, "s.tif")


@pytest.mark.slow
def test_predict_and_seams_judge_by_the_truths_names_too(engines, scene, tmp_path):
    pytest.importorskip("cv2")
    truths = [tagged(tmp_path / "ours.tif", OURS), tagged(tmp_path / "theirs.tif", THEIRS, SHUFFLED)]
    for truth in truths:
        picture = tmp_path / f"{truth.stem}.png"
        done = run("predict", scene, engines[0], "-o", tmp_path / f"{truth.stem}.map.tif", "--truth", truth, "--quicklook", picture, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["accuracy"]["miou"] == 1, done.stderr
        done = run("seams", scene, engines[0], "--truth", truth, "--tile", 4, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["measures"][0]["miou"] == 1, done.stderr
    tagged(truths[1], np.zeros_like(OURS), SHUFFLED)
    failed(run("predict", scene, engines[0], "-o", tmp_path / "x.tif", "--truth", truths[1]), "label 0 (swamp)")
    failed(run("seams", scene, engines[0], "--truth", truths[1]), "label 0 (swamp)")
    assert not (tmp_path / "x.tif").exists()
