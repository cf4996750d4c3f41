"""The probability of one class in place of the confidence: of an array, of a raster, from the command line, on a device."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import rasterio
import reference

from hfd_edge.errors import RadiometryError, RasterError, SpecError
from hfd_edge.package import Package, write_package
from hfd_edge.raster import RasterSource
from hfd_edge.raster_run import RasterOptions
from hfd_edge.score import OWN_CLASS, asked_score, class_number, score_name
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from tests import emulated_cuda
from tests.command import failed, run
from tests.device_engine import emulated_segmenter, filled
from tests.engines import random_engine
from tests.rasters import UTM, write_tif

CLASSES = ("water", "oil", "Wet snow", "ice", "land=dry")
DEMO = files("hfd_edge") / "data" / "demo-light.engine"


def named(path):
    """A random engine whose classes have these names."""
    with Package.open(random_engine(path)) as package:
        graphs = {name: package.read(name) for name in package.graph_names}
        write_package(path, replace(package.spec, classes=CLASSES), graphs, package.golden, {"made_by": "tests"}, overwrite=True)
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return named(tmp_path_factory.mktemp("engine") / "named.engine")


@pytest.fixture(scope="module")
def pixels():
    values = np.random.default_rng(8).normal(size=(2, 150, 210)).astype(np.float32)
    values[0, :70, :90] = np.nan                                # whole tiles without a pixel, and parts of others
    return values


@pytest.fixture
def scene(tmp_path, pixels):
    return write_tif(tmp_path / "scene.tif", pixels, crs="EPSG:32633", transform=UTM)


def read(path):
    with RasterSource(path) as source:
        return source.read(0, source.rows)[0][0]


def check_planes(labels, confidence, planes):
    """Of all classes, in their order: one softmax, and the labels' own is the confidence."""
    planes, known = np.array(planes, int), labels != 255
    assert known.any() and (planes[:, ~known] == 255).all() and (confidence[~known] == 255).all()
    assert (np.abs(planes.sum(axis=0) - 254)[known] <= len(planes) / 2).all()                   # each rounded by half a step
    own = np.take_along_axis(planes, np.where(known, labels, 0)[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(own[known], confidence[known])
    first, second = np.sort(planes, axis=0)[:-3:-1]
    clear = known & (first > second)
    assert clear.mean() > 0.5 * known.mean()
    np.testing.assert_array_equal(planes.argmax(axis=0)[clear], labels[clear])


@pytest.mark.parametrize("options", [{}, {"tile": 64, "halo": 16}, {"tile": 64, "halo": 16, "stitch": "hann"}])
def test_the_planes_of_all_classes_are_one_softmax(engine, pixels, options):
    with Segmenter(engine, threads=2, **options) as seg:
        plain = seg.run(pixels, "dn")
        assert plain.probability is None and plain.report.score == "confidence"
        made = [seg.run(pixels, "dn", probability=name) for name in CLASSES]
    for result, name in zip(made, CLASSES):
        np.testing.assert_array_equal(result.labels, plain.labels)
        assert result.confidence is None and result.report.score == f"probability of {name}" and f"with probability of {name}, " in repr(result)
    check_planes(plain.labels, plain.confidence, [result.probability for result in made])


@pytest.mark.parametrize("word, number", [("water", 0), ("WATER", 0), (0, 0), ("0", 0), ("wet snow", 2), (np.int64(4), 4), ("land=dry", 4)])
def test_a_class_goes_by_its_name_or_number(word, number):
    assert class_number(CLASSES, word) == asked_score(CLASSES, False, word) == number
    assert score_name(CLASSES, number) == f"probability of {CLASSES[number]}"


def test_what_is_asked_for():
    assert (asked_score(CLASSES, True, None), asked_score(CLASSES, False, None)) == (OWN_CLASS, None)
    assert (score_name(CLASSES, OWN_CLASS), score_name(CLASSES, None)) == ("confidence", "")


@pytest.mark.parametrize("word", ["fire", "", 5, -1, True, "water,oil"])
def test_an_unknown_class_is_refused_with_those_there_are(engine, pixels, scene, tmp_path, word):
    words = "none has.*0 water, 1 oil, 2 Wet snow, 3 ice, 4 land=dry"
    with Segmenter(engine, threads=1) as seg:
        with pytest.raises(SpecError, match=words):
            seg.run(pixels, "dn", probability=word)
        with pytest.raises(SpecError, match=words):
            seg.run_source(ArraySource(pixels, 2), seg.declared("dn", pixels.dtype), lambda *_: None, probability=word)
        with pytest.raises(RasterError, match=words):
            seg.run_raster(scene, tmp_path / "map.tif", unit="dn", probability=(word, tmp_path / "p.tif"))
    with pytest.raises(SpecError, match="several have"):
        class_number(("Ice", "ICE"), "ice")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_both_planes_together_are_refused_by_name(engine, pixels, tmp_path):
    words = "confidence=.* and probability=.*: a run makes one of the two.*run twice"
    with Segmenter(engine, threads=1) as seg:
        with pytest.raises(SpecError, match=words):
            seg.run(pixels, "dn", confidence=True, probability="oil")
        with pytest.raises(SpecError, match=words):
            seg.run_source(ArraySource(pixels, 2), seg.declared("dn", pixels.dtype), lambda *_: None, confidence=True, probability="oil")
        assert seg.run(pixels, "dn", confidence=False, probability="oil").probability is not None
        neither = seg.run(pixels, "dn", confidence=False)
        assert (neither.score, neither.confidence, neither.probability, neither.report.score) == (None, None, None, "")
    with pytest.raises(RasterError, match=words):
        RasterOptions(confidence=tmp_path / "c.tif", probability=("oil", tmp_path / "p.tif"))


@pytest.mark.parametrize("pair", ["water", ("water",), ("water", None), (None, "w.tif"), {"water": "w.tif"}, ("water", "w.tif", 1), (1.0, "w.tif")])
def test_what_is_no_class_and_file_is_refused(pair):
    with pytest.raises(RasterError, match=r'probability=.*such as \("water", "water.tif"\)'):
        RasterOptions(probability=pair)


@pytest.mark.parametrize("more", [{}, {"window": (40, 60, 71, 103)}, {"bounds": (500300, 4599000, 500700, 4599600)}, {"classes": ("ice",)}])
def test_a_raster_gets_the_plane_of_its_array_and_a_file_that_says_what_it_is(engine, scene, pixels, tmp_path, more):
    with Segmenter(engine, threads=2) as seg:
        wanted = seg.run(pixels, "dn", probability="Wet snow").probability
        report = seg.run_raster(scene, tmp_path / "map.tif", unit="dn", probability=("wet snow", tmp_path / "p.tif"), **more)
        seg.run_raster(scene, tmp_path / "again.tif", unit="dn", confidence=tmp_path / "c.tif", **more)
    row, col, rows, cols = report.window or (0, 0, *wanted.shape)
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), wanted[row:row + rows, col:col + cols])
    assert report.score == json.loads(json.dumps(report.to_dict()))["score"] == "probability of Wet snow"
    with rasterio.open(tmp_path / "p.tif") as made, rasterio.open(tmp_path / "c.tif") as other:
        assert made.descriptions == ("probability of Wet snow",) and made.tags()["HFD_SCORE"] == "probability of Wet snow"
        assert other.descriptions == ("confidence",) and other.tags()["HFD_SCORE"] == "confidence"
        assert made.nodata == 255 and made.scales == (pytest.approx(1 / 254),) and made.transform == other.transform
        assert {**made.tags(), "HFD_SCORE": ""} == {**other.tags(), "HFD_SCORE": ""}, "the same engine, source, halo"
        assert made.tags().get("HFD_WINDOW") == (report.window and ",".join(map(str, report.window)))
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), read(tmp_path / "again.tif"))


def test_overviews_of_a_plane_hold_means(engine, tmp_path):
    values = np.random.default_rng(1).normal(size=(2, 600, 530)).astype(np.float32)
    with Segmenter(engine, threads=2) as seg:
        seg.run_raster(write_tif(tmp_path / "scene.tif", values), tmp_path / "map.tif", unit="dn", probability=("water", tmp_path / "p.tif"))
    with rasterio.open(tmp_path / "p.tif") as made:
        full = made.read(1)
    with rasterio.open(tmp_path / "p.tif", overview_level=0) as level:
        np.testing.assert_array_equal(level.read(1), reference.mean_valid(full))


def test_an_empty_scene_has_a_plane_of_nodata(engine, pixels, tmp_path):
    nothing = np.full_like(pixels, np.nan)
    scene, out = write_tif(tmp_path / "scene.tif", nothing), tmp_path / "p.tif"
    with Segmenter(engine, threads=1) as seg:
        with pytest.raises(RadiometryError, match="not one of"):
            seg.run(nothing, "dn", probability="water")
        assert (seg.run(nothing, "dn", probability="water", allow_empty=True).probability == 255).all()
        seg.run_raster(scene, tmp_path / "map.tif", unit="dn", probability=("water", out), allow_empty=True)
    assert (read(out) == 255).all()


def test_the_engine_and_the_map_are_never_replaced_by_the_plane(tmp_path, scene):
    engine = named(tmp_path / "m.engine")
    before, names = engine.read_bytes(), sorted(tmp_path.iterdir())
    with Segmenter(engine, threads=1) as seg:
        for path, words in ((engine, "is an input"), (scene, "is an input"), (tmp_path / "map.tif", "must be different files")):
            with pytest.raises(RasterError, match=words):
                seg.run_raster(scene, tmp_path / "map.tif", unit="dn", overwrite=True, probability=("oil", path))
    assert engine.read_bytes() == before and sorted(tmp_path.iterdir()) == names


@pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
@pytest.mark.parametrize("stitch", ["crop", "hann"])
def test_a_device_gives_the_planes_of_the_cpu(engine, pixels, emulated_device, stitch):
    from hfd_edge.device.memory import CudaDevice

    options = {"tile": 64, "halo": 16, "stitch": stitch}
    with emulated_device.installed(), Segmenter(engine, **options) as cpu, emulated_segmenter(engine, emulated_device, **options) as seg:
        there = filled(CudaDevice(0), pixels)
        for name in ("water", "ice"):                           # the first one's number is 0
            wanted, host, device = (each.run(array, "dn", probability=name) for each, array in ((cpu, pixels), (seg, pixels), (seg, there)))
            np.testing.assert_array_equal(host.labels, wanted.labels)
            np.testing.assert_array_equal(host.probability, wanted.probability)
            np.testing.assert_array_equal(device.probability.numpy(), wanted.probability)
            assert host.report.score == device.report.score == f"probability of {name}" and device.confidence is None


def test_the_planes_of_the_demo_engine_from_the_command_line(tmp_path):
    """End to end, in processes: a simulated scene, one run for each class, and one for the confidence."""
    done = run("simulate", tmp_path / "made", "--rows", 200, "--cols", 230, "--seed", 5)
    assert done.returncode == 0, done.stderr
    scene, planes = next((tmp_path / "made").glob("*scene*.tif")), []
    done = run("predict", scene, DEMO, "-o", tmp_path / "map.tif", "--confidence", tmp_path / "c.tif", "--json")
    assert done.returncode == 0, done.stderr
    names = [each["name"] for each in json.loads(done.stdout)["classes"]]
    for number, name in enumerate(names):
        out = tmp_path / f"{number}.tif"
        done = run("predict", scene, DEMO, "-o", tmp_path / f"map-{number}.tif", "--probability", f"{name}={out}", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["score"] == f"probability of {name}", done.stderr
        np.testing.assert_array_equal(read(tmp_path / f"map-{number}.tif"), read(tmp_path / "map.tif"))
        planes.append(read(out))
    assert len(planes) == 5 and max(plane[plane < 255].max() for plane in planes) > 200
    check_planes(read(tmp_path / "map.tif"), read(tmp_path / "c.tif"), planes)


@pytest.mark.parametrize("words, code, said", [
    (["--probability", "water"], 2, "a class, by name or number, and the file"), (["--probability", "=p.tif"], 2, "a class"), (["--probability", "water="], 2, "a class"),
    (["--probability", "water=p.tif", "--probability", "oil=q.tif"], 2, "run once for each"), (["--probability", "fire=p.tif"], 1, "0 water, 1 oil"),
    (["--probability", "water=p.tif", "--confidence", "c.tif"], 1, "run twice"), (["--probability", "water=p.png"], 2, ".tif"),
    (["--probability", "water=map.tif"], 2, "must be different files"), (["--probability", "water=scene.tif", "--overwrite"], 1, "input")])
def test_a_command_line_that_asks_for_no_plane_is_refused_before_any_work(engine, scene, tmp_path, words, code, said):
    before = sorted(tmp_path.iterdir())
    words = [word.replace("=", f"={tmp_path}/") if word.endswith((".tif", ".png")) and "=" in word and word[0] != "=" else word for word in words]
    done = run("predict", scene, engine, "-o", tmp_path / "map.tif", "--unit", "dn", *words)
    assert said in " ".join(done.stderr.split())
    if code == 1:
        failed(done)
    assert done.returncode == code and sorted(tmp_path.iterdir()) == before
