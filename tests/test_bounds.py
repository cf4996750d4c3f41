"""A box in map coordinates is a window: the pixels whose middle lies in it, wherever the axes point, and nothing else is guessed."""

import json
import math

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from hfd_edge.errors import RasterError
from hfd_edge.raster import GeoReference
from hfd_edge.raster.bounds import Placed, window_of
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests import command
from tests.rasters import GCPS, ROTATED, UTM, write_tif
from tests.test_window import engine  # a fixture

ROWS, COLS = 120, 150
SOUTH_UP = Affine(10, 0, 500_000, 0, 10, 4_600_000)


class Raster(Placed):
    def __init__(self, transform=UTM, crs="EPSG:32633", rows=ROWS, cols=COLS):
        self.name, self.rows, self.cols = "scene.tif", rows, cols
        self.geo = GeoReference(None if crs is None else rasterio.crs.CRS.from_string(crs), transform)


def scene_of(folder, **place):
    values = np.random.default_rng(2).normal(size=(2, ROWS, COLS)).astype(np.float32)
    return write_tif(folder / "scene.tif", values, nodata=-9999.0, **{"crs": "EPSG:32633", "transform": UTM, **place})


@pytest.mark.parametrize("transform", [UTM, SOUTH_UP])
def test_the_map_of_a_box_is_the_crop_of_the_scenes_map(engine, tmp_path, transform):
    scene = scene_of(tmp_path, transform=transform)
    with Segmenter(engine, threads=1) as segmenter:
        whole = segmenter.run_raster(scene, tmp_path / "whole.tif", unit="dn")
        with rasterio.open(tmp_path / "whole.tif") as made:
            box = Affine(UTM.a, 0, UTM.c + 170, 0, transform.e, UTM.f + 31 * transform.e)
            west, east = box.c, box.c + 84 * box.a
            south, north = sorted((box.f, box.f + 59 * box.e))
            crop = made.read(1)[31:90, 17:101]
        report = segmenter.run_raster(scene, tmp_path / "part.tif", unit="dn", bounds=(west + 4.9, south - 4.9, east + 4.9, north - 4.9))
    assert report.window == (31, 17, 59, 84) == (31, 17, report.rows, report.cols) and whole.window is None
    with rasterio.open(tmp_path / "part.tif") as made:
        np.testing.assert_array_equal(made.read(1), crop)
        assert made.transform == box and made.tags()["HFD_WINDOW"] == "31,17,59,84"


shapes = st.tuples(st.sampled_from([-1, 1]), st.sampled_from([-1, 1]), st.sampled_from([10.0, 1 / 3600, 0.7]), st.integers(1, 60), st.integers(1, 60))


@given(shapes, st.floats(0, 1), st.floats(0, 1))
def test_two_boxes_that_share_a_side_share_no_pixel_and_leave_none_out(shape, across, along):
    right, down, size, rows, cols = shape
    raster = Raster(Affine(right * size, 0, 33.3, 0, down * size, -7.7), None, rows, cols)
    t = raster.geo.transform
    (west, east), (south, north) = sorted((t.c, t.c + cols * t.a)), sorted((t.f, t.f + rows * t.e))
    x, y = west + across * (east - west), south + along * (north - south)
    kept = np.zeros((rows, cols), int)
    for box in ((west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)):
        try:
            row, col, high, wide = window_of(raster, box)
        except RasterError as error:
            assert "middle in it" in str(error) or "west must lie below" in str(error)
            continue
        kept[row:row + high, col:col + wide] += 1
    assert (kept == 1).all()


def test_a_box_as_qgis_rounds_it_is_the_whole_raster():
    assert window_of(Raster(), (499_999.9996, 4_598_800.0004, 501_500.0004, 4_599_999.9996)) == (0, 0, ROWS, COLS)


@pytest.mark.parametrize(("left", "bounds", "col"), [
    (179.0, (179.5, -1, 180.5, 0), 50), (179.0, (179.5, -1, -179.5, 0), 50), (179.0, (-179.9, -1, -179.6, 0), 110),
    (-181.0, (179.5, -1, -179.5, 0), 50), (350.0, (-9.5, -1, -9, 0), 50), (-10.0, (350.5, -1, 351, 0), 50)])
def test_longitudes_count_as_the_raster_counts_them(left, bounds, col):
    raster = Raster(Affine(0.01, 0, left, 0, -0.01, 0), "EPSG:4326")
    assert window_of(raster, bounds)[:2] == (0, col)


@pytest.mark.parametrize(("raster", "bounds", "words"), [
    (Raster(), (499_000, 4_599_000, 500_500, 4_600_000),
     "reach outside.*covers 500000,4598800,501500,4600000 in EPSG:32633.*--bounds 500000,4599000,500500,4600000"),
    (Raster(), (500_000, 4_598_700, 500_500, 4_599_000), "reach outside.*--bounds 500000,4598800,500500,4599000"),
    (Raster(), (500_000, 4_599_000, 500_500, 4_600_010), "reach outside.*--bounds 500000,4599000,500500,4600000"),
    (Raster(), (501_000, 4_599_000, 501_510, 4_600_000), "reach outside.*--bounds 501000,4599000,501500,4600000"),
    (Raster(crs="EPSG:32633+5773"), (14.9, 41.5, 15.1, 41.6), "in WGS 84 / UTM zone 33N . EGM96 height;"),
    (Raster(), (15.002, 41.545, 15.01, 41.549), "lie beside it.*EPSG:32633.*if they are degrees, it is about --bounds 500166.8,4599"),
    (Raster(Affine(0.01, 0, 179.0, 0, -0.01, 0), "EPSG:4326"), (10, 10, 11, 11), "beside it.*give a box in these coordinates$"),
    (Raster(Affine(1e-4, 0, 10, 0, -1e-4, 50), "EPSG:4326"), (10.001, 49.99, 10.002, 1.7e308), "reach outside.*part inside is --bounds 10.001,49.99,10.002,50"),
    (Raster(Affine(1e-4, 0, 10, 0, -1e-4, 50), "EPSG:4326"), (1.6e308, 49.99, 1.7e308, 50), "reach outside|beside it"),
    (Raster(crs=None), (10, 10, 11, 11), "beside it: it covers 500000,4598800,501500,4600000; give a box in these coordinates$"),
    (Raster(), (500_500, 4_599_000, 500_100, 4_599_500), "order is W,S,E,N"),
    (Raster(), (500_100, 4_599_500, 500_500, 4_599_000), "order is W,S,E,N"),
    (Raster(), (500_106, 4_599_000, 500_109, 4_599_500), "no pixel has its middle.*10 wide and 10 high"),
    (Raster(Affine(10, 0.05, 5e5, 0, -10, 4.6e6)), (500_100, 4_599_000, 500_500, 4_599_500), "rotated.*--window"),
    (Raster(Affine(10, 0, 5e5, 0.05, -10, 4.6e6)), (500_100, 4_599_000, 500_500, 4_599_500), "rotated.*--window"),
    (Raster(ROTATED), (500_100, 4_599_000, 500_500, 4_599_500), "rotated.*--window"),
    (Raster(Affine(0, 10, 5e5, -10, 0, 4.6e6)), (500_100, 4_599_000, 500_500, 4_599_500), "rotated.*--window"),
    (Raster(None), (500_100, 4_599_000, 500_500, 4_599_500), "no transform.*--window")])
def test_a_box_that_is_no_window_is_refused_with_the_way_out(raster, bounds, words):
    with pytest.raises(RasterError, match=words):
        window_of(raster, bounds)


@pytest.mark.parametrize("bounds", [(1, 2, 3), "1,2,3,4", 5, (1, 2, math.nan, 4), (1, 2, math.inf, 4), ("a", 1, 2, 3)])
def test_what_is_no_box_is_refused(bounds):
    with pytest.raises(RasterError, match="four numbers"):
        RasterOptions(bounds=bounds)


def test_a_window_and_a_box_are_refused_together():
    with pytest.raises(RasterError, match="give one of them"):
        RasterOptions(window=(0, 0, 5, 5), bounds=(0, 0, 1, 1))


def test_control_points_take_no_box_and_leave_no_file(engine, tmp_path):
    scene = write_tif(tmp_path / "scene.tif", np.ones((2, 90, 90), np.float32), gcps=GCPS)
    with Segmenter(engine, threads=1) as segmenter, pytest.raises(RasterError, match="no transform"):
        segmenter.run_raster(scene, tmp_path / "map.tif", unit="dn", bounds=(4.0, 50.9, 4.1, 51.0))
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_predict_takes_a_box_and_its_truth_and_picture_with_it(engine, tmp_path):
    pytest.importorskip("cv2")
    scene, box = scene_of(tmp_path, crs="EPSG:32733", transform=Affine(10, 0, -700, 0, -10, 900)), "-400,-200,-100,301"
    done = command.run("predict", scene, engine, "-o", tmp_path / "a.tif", "--unit", "dn", "--bounds", box, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["window"] == [60, 30, 50, 30], done.stderr
    whole = command.run("predict", scene, engine, "-o", tmp_path / "whole.tif", "--unit", "dn", "--quiet")
    again = command.run("predict", scene, engine, "-o", tmp_path / "b.tif", "--unit", "dn", "--truth", tmp_path / "whole.tif",
                        "--quicklook", tmp_path / "b.png", "--bounds", box, "--json")
    assert whole.returncode == again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["accuracy"]["pixels"] == 1500 and (tmp_path / "b.png").exists()
    assert json.loads(again.stdout)["accuracy"]["miou"] == 1
    told = command.run("predict", scene, engine, "-o", tmp_path / "c.tif", "--unit", "dn", "--window", "60,30,50,30")
    assert "50 x 30 = 0.00 Mpx, 0.00% nodata, from row 60, column 30 of the scene on" in told.stdout
    wrong = command.run("predict", scene, engine, "-o", tmp_path / "d.tif", "--unit", "dn", "--bounds", "1,2,3")
    assert wrong.returncode == 2 and "give W,S,E,N" in wrong.stderr
