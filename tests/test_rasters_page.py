"""What docs/rasters.md tells to type, typed."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.rio.main import main_group

import hfd_edge
from hfd_edge.products import open_scene
from hfd_edge.raster.guard import CONVERT_ONE
from tests.rasters import ramp, write_tif

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "rasters.md").read_text()
UTM = Affine(10, 0, 500000, 0, -10, 5300000)


def typed(start):
    """The `rio` command of the page that begins so, run here."""
    command = re.search(rf"`(rio {start}[^`]*)`", PAGE)[1]
    done = CliRunner().invoke(main_group, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_polygons_are_one_geojson_with_the_class_as_val(here):
    """Without --collection it was a feature a line, which json.load and our own code for labels refuse."""
    write_tif(here / "map.tif", np.repeat(np.uint8([0, 2, 254]), 5)[None, None].repeat(4, 1), crs="EPSG:32633", transform=UTM)
    typed("shapes")
    shapes = json.loads((here / "map.geojson").read_text())["features"]
    assert {shape["properties"]["val"] for shape in shapes} == {0, 2, 254}
    assert all(14.9 < x < 15.1 and 47.8 < y < 47.9 for shape in shapes for x, y in shape["geometry"]["coordinates"][0])


def test_tiles_of_earth_engine_are_the_scene_pixel_by_pixel_and_what_rio_merge_makes_of_them(here):
    scene = np.random.default_rng(1).normal(-12, 3, (3, 40, 70)).astype(np.float32)
    scene[:, :9, 20:50] = np.nan
    for row, col in ((0, 0), (0, 30), (25, 0), (25, 30)):
        write_tif(here / f"name-{row:010d}-{col:010d}.tif", scene[:, row:row + 25, col:col + 30 if col == 0 else None], crs="EPSG:4326",
                  transform=Affine(8.983152841195215e-05, 0, 10.1, 0, -8.983152841195215e-05, 47.9) @ Affine.translation(col, row))
    tiles = hfd_edge.Mosaic(here)
    assert CliRunner().invoke(main_group, ["merge", *map(str, tiles), "scene.tif"]).exit_code == 0
    with rasterio.open("scene.tif") as merged, open_scene(tiles) as source:
        np.testing.assert_array_equal(source.read(0, 40)[0], merged.read())
        np.testing.assert_array_equal(merged.read(), scene)
        assert source.geo.transform.almost_equals(merged.transform, 1e-12)


def test_a_file_is_brought_to_anothers_grid_and_without_a_nodata_value_its_end_is_0(here):
    values = np.full((1, 4, 6), -9, np.float32)
    write_tif(here / "before.tif", values, crs="EPSG:32633", transform=UTM)
    write_tif(here / "after.tif", values, crs="EPSG:32633", transform=UTM @ Affine.translation(0.7, 0))
    typed("warp")
    with rasterio.open("new.tif") as warped, rasterio.open("before.tif") as before:
        assert warped.transform == before.transform and warped.read(1)[0].tolist() == [0, -9, -9, -9, -9, -9]


def test_an_array_becomes_a_map_and_a_picture(here, db_engine, power):
    power[:, :9] = 1e-9
    write_tif(here / "scene.tif", 10 * np.log10(power), crs="EPSG:32633", transform=UTM, nodata=-90)
    code = re.search(r"```python\n(.*?)```", PAGE.partition("## From an array")[2], re.DOTALL)[1]
    with hfd_edge.Segmenter(db_engine) as seg:
        exec(compile(code, "rasters.md", "exec"), names := {"seg": seg})
    with rasterio.open("labels.tif") as made:
        labels = made.read(1)
        assert made.transform == UTM and made.nodata == 255 and made.colormap(1)[1][:3] == tuple(names["result"].colors[1])
    assert (labels == 255).sum() == names["pixels"][255] == 9 * 90 and (names["picture"][labels == 255] == 255).all()
    assert names["pixels"].sum() == labels.size


def test_the_bands_of_an_hdf5_are_listed_and_converted_as_its_error_says(here):
    """gdalinfo and gdal_translate, which the error named, do not come with hfd_edge."""
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.h5", "w") as file:
        file["vv"], file["vh"] = ramp(1)[0], 3 * ramp(1)[0]
    listing, convert = re.search("(rio info --subdatasets) INPUT lists them, (rio convert) 'ONE OF THEM' vv.tif", CONVERT_ONE).groups()
    run = CliRunner()
    names = run.invoke(main_group, [*listing.split()[1:], "a.h5"]).output.split()
    vh = next(name for name in names if name.endswith("vh"))
    assert run.invoke(main_group, [*convert.split()[1:], vh, "vh.tif"]).exit_code == 0
    with rasterio.open("vh.tif") as made:
        np.testing.assert_array_equal(made.read(1), 3 * ramp(1)[0])
