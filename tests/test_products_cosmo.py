"""COSMO-SkyMed: power by ASI's formula with the product's attributes, in any strips, in its place; beside GDAL's own reader."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.export.calibration_data import open_scenes, with_pixels
from hfd_edge.export.data_files import scene_files
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.raster import GeoReference
from tests import command
from tests.cosmo_files import COLS, LEFT, ROWS, SPACING_M, TOP, MadeUp, lat_lon
from tests.engines import make_spec, plain_input, random_engine

h5py = pytest.importorskip("h5py")
DB = plain_input(1, unit="db", floor=-40.0, mean=(-12.0,), std=(6.0,))
KINDS = {"DGM": MadeUp(), "GEC": MadeUp("GEC_B"), "GTC": MadeUp("GTC_B", root={"Incidence Angle Compensation Geometry": "DEM"}),
         "ScanSAR": MadeUp(mosaic=True, root={"Acquisition Mode": "WIDEREGION"}), "contiguous": MadeUp(chunks=None),
         "applied": MadeUp(root={"Calibration Constant Compensation Flag": np.uint8(1), "Rescaling Factor": 1.25e5}),
         "large numbers": MadeUp(root={"Rescaling Factor": 1.25e-3, "Reference Slant Range Exponent": 0.0625, "Reference Incidence Angle": 30.0}),
         "texts": MadeUp(root={"Mission ID": np.array([b"CSK \0"]), "Rescaling Factor": np.float32(1.25)})}


@pytest.mark.parametrize("kind", KINDS)
def test_power_is_the_published_formula_and_any_strips_hold_the_same_bits(tmp_path, kind):
    made = KINDS[kind]
    with open_scene(made.write(tmp_path / "x.h5"), SceneRequest(wanted=("HH",))) as scene:
        assert (scene.rows, scene.cols, scene.count, scene.band_names) == (ROWS, COLS, 1, ("HH",))
        assert scene.spacing_m == (None if made.on_a_map() else (2.5, 2.5)) and scene.block_rows == (16 if made.chunks else 1)
        values, valid = scene.read(0, ROWS)
        expected, expected_valid = made.by_hand(("HH",))
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        np.testing.assert_array_equal(valid, expected_valid)
        assert np.count_nonzero(~valid) == 3 * ROWS + 1
        assert (scene.declared.unit, scene.declared.quantity, scene.declared.looks, scene.declared.bands) == ("intensity", "sigma0", None, ("HH",))
        assert "calibrated to sigma0" in scene.notes[0] and "layout only" in scene.notes[-1]
        assert ("applied already" in scene.notes[0]) == (kind == "applied") and ("incidence angle dem" in scene.notes[0]) == (kind == "GTC")
        for row, rows, col, cols in ((0, 1, 0, COLS), (20, 41, 5, 40), (60, 1, 82, 1)):
            part, part_valid = scene.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part, values[:, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])
        reader = scene.reader(3, 60)
        for row, rows in ((0, 20), (10, 30), (37, 24)):
            np.testing.assert_array_equal(reader.read(row, rows)[0], values[:, row:row + rows, 3:63])
        with pytest.raises(RasterError, match="61 x 83"):
            scene.read_part(60, 2, 0, COLS)


@pytest.mark.parametrize("kind", ["DGM", "GEC", "GTC", "ScanSAR"])
def test_numbers_and_place_are_those_of_gdals_own_reader(tmp_path, kind):
    made = KINDS[kind]
    path = made.write(tmp_path / "x.h5")
    with rasterio.Env() as env:
        if "HDF5Image" not in env.drivers():
            pytest.skip("this GDAL reads no HDF5")
    with rasterio.open(f'HDF5:"{path}"://{"MBI" if made.mosaic else "S01/SBI"}') as gdal, open_scene(path) as scene:
        values, valid = scene.read(0, ROWS)
        stored = gdal.read(1)
        np.testing.assert_array_equal(valid, stored != 0)
        k = values[0, 9, 9] / 65535.0 ** 2
        np.testing.assert_allclose(values[0], stored.astype(np.float64) ** 2 * k, rtol=1e-6)
        if made.on_a_map():
            assert scene.geo.crs.to_epsg() == 32633 and scene.geo.pixels_apart(GeoReference.of(gdal, ()), ROWS, COLS) < 1e-6
        else:
            points, crs = gdal.gcps
            assert crs.to_epsg() == scene.geo.gcp_crs.to_epsg() == 4326
            found, there = ([(p.row, p.col, p.x, p.y, p.z) for p in each] for each in (scene.geo.gcps, points))
            np.testing.assert_allclose(sorted(found), sorted(there), rtol=0, atol=1e-9)


def test_two_polarisations_are_taken_by_name_and_one_that_is_missing_is_named(tmp_path):
    made = MadeUp(polarisations=("HH", "VV"), root={"Acquisition Mode": "PINGPONG"})
    path = made.write(tmp_path / "x.h5")
    for names in (("VV", "HH"), ("HH", "VV"), ("VV",)):
        with open_scene(path, SceneRequest(wanted=names)) as scene:
            expected, expected_valid = made.by_hand(names)
            assert scene.band_names == names
            values, valid = scene.read(0, ROWS)
            np.testing.assert_allclose(values, expected, rtol=1e-6)
            np.testing.assert_array_equal(valid, expected_valid)
    for request, words in (({"wanted": ("HH", "HV")}, "x.h5 has no HV: it holds HH, VV"), ({"bands": (1,)}, "names no polarisation"),
                           ({"bands": ("VV", "HH"), "wanted": ("HH", "VV")}, "leave --bands out"), ({"bands": ("HH", "HH")}, "chosen twice")):
        with pytest.raises(RasterError, match=words):
            open_scene(path, SceneRequest(**request))


@pytest.mark.parametrize(("name", "value"), [("Top Left Geodetic Coordinates", (*lat_lon(2, 0), 40.0)), ("Line Spacing", None)])
def test_polarisations_that_lie_elsewhere_or_say_nothing_of_it_are_no_scene_of_two_bands(tmp_path, name, value):
    path = MadeUp(polarisations=("HH", "VV")).write(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        del file["S02/SBI"].attrs[name]
        if value is not None:
            file["S02/SBI"].attrs[name] = value
    with pytest.raises(RasterError, match="VV lies elsewhere than that of HH" if value else "'Line Spacing' of /S02/SBI as nothing"):
        open_scene(path)
    with open_scene(path, SceneRequest(wanted=("HH",))) as scene:
        assert scene.count == 1


def test_predict_gives_a_map_in_its_place_and_says_what_was_read(tmp_path):
    engine = random_engine(tmp_path / "x.engine", ("HH",), input=DB)
    for made in (MadeUp(), MadeUp("GEC_B")):
        path = made.write(tmp_path / f"CSKS1_{made.kind}_HI_01_HH_RD_SF_20170515172254_20170515172301.h5")
        out = tmp_path / f"{made.kind}.tif"
        done = command.run("predict", path, engine, "-o", out)
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())
        for words in (f"COSMO-SkyMed CSKS1 {made.kind}, mode HIMAGE, descending, looking right, 2.5 x 2.5 m", "calibrated to sigma0 = k DN^2 (k: HH 1.44",
                      "range spreading loss ellipsoid", "its calibration constant divided by here", "noise not removed", "bands HH in intensity",
                      "layout only"):
            assert words in said, (words, said)
        with rasterio.open(out) as labels:
            np.testing.assert_array_equal(labels.read(1) == 255, ~made.by_hand(("HH",))[1])
            if made.on_a_map():
                assert labels.crs.to_epsg() == 32633 and labels.transform[:6] == (SPACING_M, 0.0, LEFT, 0.0, -SPACING_M, TOP)
            else:
                assert len(labels.gcps[0]) == 4
        command.failed(command.run("predict", path, engine, "-o", tmp_path / "other.tif", "--unit", "amplitude"), "leave --unit out")
        command.failed(command.run("predict", path, engine, "-o", path, "--overwrite"), path.name)


def test_a_network_of_another_quantity_is_told_that_it_is_sigma_nought(tmp_path):
    engine = random_engine(tmp_path / "x.engine", ("HH",), input=plain_input(1, unit="db", floor=-40.0, mean=(-12.0,), std=(6.0,), quantity="gamma0"))
    done = command.run("predict", MadeUp().write(tmp_path / "x.h5"), engine, "-o", tmp_path / "map.tif")
    assert done.returncode == 0 and "the scene is sigma0, the network was trained on gamma0" in " ".join(done.stdout.split()), done.stdout + done.stderr


def test_a_folder_of_them_calibrates_an_export_as_predict_reads_them(tmp_path):
    paths = [MadeUp(kind, chunks=None).write(tmp_path / f"{kind}.h5") for kind in ("DGM_B", "GEC_B")]
    assert [scene.files for scene in scene_files([tmp_path], ("HH",))] == [(path,) for path in paths]
    spec = make_spec(("HH",), 5, 8, 4, 20, input=DB)
    with ExitStack() as stack:
        scenes, notes = with_pixels(open_scenes([tmp_path], spec, stack), spec)
        assert [scene.name for scene in scenes] == ["DGM_B.h5", "GEC_B.h5"] and any("layout only" in note for note in notes)
        for scene in scenes:
            values, valid = scene.source.read(0, ROWS)
            np.testing.assert_allclose(values, MadeUp().by_hand(("HH",))[0], rtol=1e-6)
            np.testing.assert_array_equal(valid, MadeUp().by_hand(("HH",))[1])


def test_scene_and_despeckle_take_it(tmp_path):
    path = MadeUp().write(tmp_path / "x.h5")
    done = command.run("scene", path)
    assert done.returncode == 0 and "COSMO-SkyMed" in done.stdout, done.stdout + done.stderr
    done = command.run("despeckle", path, "-o", tmp_path / "power.tif", "--filter", "boxcar")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "power.tif") as filtered:
        assert filtered.tags()["HFD_QUANTITY"] == "sigma0" and filtered.count == 1 and len(filtered.gcps[0]) == 4


@pytest.mark.parametrize(("north", "lon", "code"), [(0.0, -177.0, 32601), (1e7, 177.0, 32760), (1e7, -69.0, 32719)])
def test_the_zone_of_utm_is_that_of_its_middle(tmp_path, north, lon, code):
    made = MadeUp("GEC_B", root={"Map Projection Centre": np.array([0.0, lon]), "Map Projection False East-North": np.array([5e5, north]),
                                   "Scene Centre Geodetic Coordinates": None})
    with open_scene(made.write(tmp_path / "x.h5")) as scene:
        assert scene.geo.crs.to_epsg() == code and scene.geo.files == scene.files


def test_corners_across_the_date_line_are_neighbours(tmp_path):
    made = MadeUp()
    west = {f"{side} Geodetic Coordinates": made.place()[f"{side} Geodetic Coordinates"] + np.array([0, 180 - 12.9 + 1e-4, 0])
            for side in ("Top Left", "Top Right", "Bottom Left", "Bottom Right")}
    with open_scene(MadeUp(image=west).write(tmp_path / "x.h5")) as scene:
        assert {point.x > 0 for point in scene.geo.gcps} == {True, False} and all(abs(point.x) <= 180 for point in scene.geo.gcps)
