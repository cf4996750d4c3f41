"""The report of a map says how much of it each class is: exact pixels, and the ground that they cover."""

import json
import time

import numpy as np
import pytest
from rasterio.transform import Affine
from rasterio.warp import transform

from hfd_edge import _native
from hfd_edge.errors import ArrayError
from hfd_edge.raster import GeoReference, MapWriter, RasterSource
from hfd_edge.raster.class_counts import ClassCounts
from hfd_edge.segmenter import Segmenter
from tests import command
from tests.engines import levels_engine
from tests.rasters import GCPS, ROTATED, UTM, write_tif

SCENE = (np.add.outer(np.arange(90), np.arange(130)) // 9 % 7).astype(np.int16)
SCENE[:8] = -1
UTM_PLACE = {"crs": "EPSG:32633", "transform": UTM}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return levels_engine(tmp_path_factory.mktemp("engine") / "levels.engine")


@pytest.fixture
def scene(tmp_path):
    return write_tif(tmp_path / "scene.tif", SCENE[np.newaxis], nodata=-1, **UTM_PLACE)


@pytest.mark.parametrize("classes", [1, 2, 4, 5, 6, 12, 23, 24, 25, 200, 255])
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (7, 15), (5, 16), (3, 33), (2, 4080), (3, 4081), (2, 9001)])
def test_counts_are_those_of_numpy(classes, shape):
    random = np.random.default_rng(classes)
    for labels in (random.integers(0, 256, shape, np.uint8), np.full(shape, classes - 1, np.uint8), np.full(shape, 255, np.uint8),
                   random.integers(0, 256, (shape[0], shape[1] + 9), np.uint8)[:, 4:-5]):
        counts = np.full(classes + 1, 7, np.int64)
        _native.count_labels(labels, classes, counts)
        want = np.bincount(labels.ravel(), minlength=256)
        np.testing.assert_array_equal(counts - 7, [*want[:classes], want[classes:].sum()])


@pytest.mark.parametrize(("labels", "classes", "counts", "words"), [
    (np.zeros((2, 2), np.int8), 3, np.zeros(4, np.int64), "must be uint8"), (np.zeros(4, np.uint8), 3, np.zeros(4, np.int64), "rows, cols"),
    (np.zeros((2, 8), np.uint8)[:, ::2], 3, np.zeros(4, np.int64), "adjacent"), (np.zeros((2, 2), np.uint8), 3, np.zeros(3, np.int64), "one more"),
    (np.zeros((2, 2), np.uint8), 256, np.zeros(257, np.int64), "1 to 255"), (np.zeros((2, 2), np.uint8), 0, np.zeros(1, np.int64), "1 to 255"),
    (np.zeros((2, 2), np.uint8), 3, np.zeros(4, np.int32), "must be int64")])
def test_what_cannot_be_counted_is_refused(labels, classes, counts, words):
    with pytest.raises(ArrayError, match=words):
        _native.count_labels(labels, classes, counts)


@pytest.mark.parametrize("named", [{}, {"window": (5, 11, 60, 70)}, {"classes": ("class 1", "class 4")}, {"classes": (0,), "window": (0, 0, 30, 31)},
                                   {"tile": 64}])
def test_the_report_counts_every_pixel_of_the_map(engine, scene, tmp_path, named):
    named = dict(named)
    with Segmenter(engine, device="cpu", tile=named.pop("tile", "auto"), threads=2) as segmenter:
        report = segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", confidence=tmp_path / "conf.tif", **named)
    with RasterSource(tmp_path / "map.tif") as made:
        labels = made.read(0, made.rows)[0][0]
    found = np.bincount(labels.ravel(), minlength=256)
    assert {each.value: each.pixels for each in report.classes if each.pixels} == {value: found[value] for value in np.flatnonzero(found[:255])}
    assert [each.value for each in report.classes] == sorted(each.value for each in report.classes)
    assert sum(each.share for each in report.classes) == pytest.approx(1) and report.nodata_share == found[255] / labels.size
    for each in report.classes:
        assert each.share == each.pixels / found[:255].sum() and each.km2 == pytest.approx(each.pixels * 1e-4, rel=1e-3)
        assert each.name == ("other" if each.value == 254 else f"class {each.value}")
    assert json.loads(json.dumps(report.to_dict()))["classes"][0]["pixels"] == report.classes[0].pixels


@pytest.mark.parametrize(("place", "area_km2"), [
    ({}, None), ({"transform": UTM}, None), ({"gcps": GCPS}, None), (UTM_PLACE, 1e-4), ({"crs": "EPSG:32633", "transform": ROTATED}, 73e-6),
    ({"crs": "EPSG:3857", "transform": Affine(20, 0, 1e6, 0, -20, 8399737.9)}, 1e-4),
    ({"crs": "EPSG:2263", "transform": Affine(32.8083, 0, 1e6, 0, -32.8083, 2e5)}, 1e-4)])
def test_ground_is_told_where_a_map_has_a_place(engine, tmp_path, place, area_km2):
    path = write_tif(tmp_path / "a.tif", SCENE[np.newaxis], nodata=-1, **place)
    with Segmenter(engine, device="cpu") as segmenter:
        for each in segmenter.run_raster(path, tmp_path / "map.tif", unit="dn").classes:
            assert each.km2 is None if area_km2 is None else each.km2 == pytest.approx(each.pixels * area_km2, rel=6e-3)


@pytest.mark.parametrize(("crs", "place"), [
    ("EPSG:3035", Affine(10, 0, 4.3e6, 0, -10, 3.2e6)), ("EPSG:6933", Affine(30, 0, 1e6, 0, -30, 5e6)), ("EPSG:6933", Affine(25, 0, -1e7, 0, 25, -2e6)),
    ("EPSG:5070", Affine(30, 4, 1e5, 4, -30, 2e6))])
def test_in_an_equal_area_projection_a_pixel_has_the_area_of_its_sides(crs, place):
    geo = GeoReference(GeoReference.north_up(crs, 0, 0, 1).crs, place)
    assert geo.pixel_km2(500.5, 300.5) == pytest.approx(abs(place.determinant) * 1e-6, rel=2e-6)


def test_in_degrees_rows_towards_the_pole_have_less_ground():
    """Between two parallels, against the area of the zone in closed form."""
    rows, cols, step = 2000, 100, 1e-3
    geo = GeoReference(GeoReference.north_up("EPSG:4326", 0, 0, 1).crs, Affine(step, 0, 30, 0, -step, 71))
    counts = ClassCounts(2, geo)
    for row in range(0, rows, 250):
        labels = np.zeros((250, cols), np.uint8)
        labels[:] = row >= 1000
        counts.add(row, labels)
    north, south, none = counts.km2
    for found, top, bottom in ((north, 71, 70), (south, 70, 69)):
        assert found == pytest.approx(zone_km2(top, bottom) * cols * step / 360, rel=1e-5)
    assert none == 0 and south > 1.04 * north


def test_in_a_polar_projection_columns_nearer_to_the_pole_have_more_ground():
    """Left and right half of a scene as wide as a swath of 400 km, against the cells' corners in an equal-area projection."""
    rows, cols, cell = 1000, 10000, 100
    geo = GeoReference(GeoReference.north_up("EPSG:3413", 0, 0, 1).crs, Affine(40, 0, 1.5e6, 0, -40, -2.5e6))
    counts = ClassCounts(2, geo)
    for row in range(0, rows, 250):
        counts.add(row, np.broadcast_to(np.arange(cols) >= cols // 2, (250, cols)).astype(np.uint8))
    x, y = np.meshgrid(np.arange(0, cols + 1, cell) * 40 + 1.5e6, np.arange(0, rows + 1, cell) * -40 - 2.5e6)
    x, y = (np.reshape(numbers, x.shape) for numbers in transform("EPSG:3413", "EPSG:6931", x.ravel(), y.ravel()))       # EASE-Grid 2.0 of the north
    (x0, x1, x2, x3), (y0, y1, y2, y3) = ((a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]) for a in (x, y))
    exact = abs((x0 - x2) * (y1 - y3) - (x1 - x3) * (y0 - y2)).reshape(rows // cell, 2, -1).sum(axis=(0, 2)) / 2e6
    np.testing.assert_allclose(counts.km2[:2], exact, rtol=5e-4)
    assert exact[0] > 1.008 * exact[1] and counts.pixels.tolist() == [rows * cols // 2] * 2 + [0]


def zone_km2(north: float, south: float) -> float:
    """Area of the ellipsoid between two parallels, summed in small steps."""
    latitude = np.radians(np.linspace(south, north, 20001))
    a, e2 = 6378.137, 0.00669437999014
    flat = 1 - e2 * np.sin(latitude) ** 2
    ring = 2 * np.pi * a * np.cos(latitude) / np.sqrt(flat) * a * (1 - e2) / flat ** 1.5
    return float(((ring[1:] + ring[:-1]) / 2 * np.diff(latitude)).sum())


def test_a_map_of_nothing_has_no_share(engine, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.full((1, 20, 20), -1, np.int16), nodata=-1, **UTM_PLACE)
    with Segmenter(engine, device="cpu") as segmenter:
        report = segmenter.run_raster(path, tmp_path / "map.tif", unit="dn", allow_empty=True)
        assert segmenter.run(SCENE.astype(np.float32)[np.newaxis], "dn").report.classes == ()
    assert all((each.pixels, each.share, each.km2) == (0, 0, 0) for each in report.classes) and len(report.classes) == 7


def test_predict_prints_the_shares(engine, scene, tmp_path):
    done = command.run("predict", scene, engine, "-o", tmp_path / "a.tif", "--unit", "dn", "--classes", "class 1")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("classes")]
    assert "1 class 1 1" in line and "254 other 8" in line and " km2)" in line
    told = json.loads(command.run("predict", scene, engine, "-o", tmp_path / "b.tif", "--unit", "dn", "--json").stdout)["classes"]
    assert [each["name"] for each in told] == [f"class {i}" for i in range(7)] and sum(each["pixels"] for each in told) == (SCENE >= 0).sum()


def test_of_many_classes_the_most_frequent_are_printed(tmp_path):
    engine = levels_engine(tmp_path / "many.engine", 40)
    values = np.repeat(np.arange(20), 16 * np.arange(1, 21))[np.newaxis, np.newaxis].astype(np.float32)
    done = command.run("predict", write_tif(tmp_path / "s.tif", values), engine, "-o", tmp_path / "a.tif", "--unit", "dn")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("classes")]
    assert "19 class 19 9.52%, 18 class 18" in line and "class 7 " not in line and line.endswith("all 40 with --json or to_dict()")


def test_the_time_of_a_map_lasts_until_it_is_complete(engine, scene, tmp_path, monkeypatch):
    """Joining a large map with its overviews takes seconds."""
    complete = MapWriter.complete
    monkeypatch.setattr(MapWriter, "complete", lambda self: (time.sleep(0.2), complete(self)))
    with Segmenter(engine) as seg:
        start = time.perf_counter()
        timings = seg.run_raster(scene, tmp_path / "map.tif", unit="dn").timings
        assert timings["write"] >= 0.2 and 0.2 <= timings["total"] <= time.perf_counter() - start
