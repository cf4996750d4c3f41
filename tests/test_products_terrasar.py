"""TerraSAR-X, TanDEM-X and PAZ: power by the product's factor and the angles of its own grids, in any strips, in its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.export.data_files import scene_files
from hfd_edge.products import SceneRequest, open_scene
from tests import command
from tests.engines import plain_input, random_engine
from tests.rasters import UTM
from tests.terrasar_files import CRS, MadeUp

KINDS = {"MGD": {}, "MGD-ascending": {"backwards": (True, False)}, "MGD-descending": {"backwards": (False, True)}, "MGD-both": {"backwards": (True, True)},
         "MGD-along": {"along": True}, "MGD-inside": {"beyond": (-4, -3), "node_px": (6, 8)},
         "GEC": {"variant": "GEC"}, "EEC": {"variant": "EEC", "backwards": (True, True)}, "PAZ": {"satellite": "PAZ1"},
         "TDX-EEC": {"satellite": "TDX1", "variant": "EEC"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("quantity", "stated"), [(None, "sigma0"), ("gamma0", "gamma0"), ("beta0", "beta0"), ("dn", "sigma0")])
def test_power_is_the_factor_and_the_angle_of_each_pixel_and_any_strips_hold_the_same_bits(tmp_path, kind, quantity, stated):
    made = MadeUp(**KINDS[kind])
    with open_scene(made.write(tmp_path), SceneRequest(wanted=("VV", "HH"), quantity=quantity)) as scene:
        assert (scene.rows, scene.cols, scene.count, scene.band_names) == (61, 83, 2, ("VV", "HH"))
        assert scene.spacing_m == ((2.5, 2.75) if made.variant == "MGD" else None)
        values, valid = scene.read(0, scene.rows)
        expected, expected_valid = made.by_hand(("VV", "HH"), stated)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        np.testing.assert_array_equal(valid, expected_valid)
        assert 0 < np.count_nonzero(~valid) < 100
        assert (scene.declared.unit, scene.declared.quantity, scene.declared.looks) == ("intensity", stated, None)
        assert f"calibrated to {stated}" in scene.notes[0] and "layout only" in scene.notes[-1]
        for row, rows, col, cols in ((0, 1, 0, 83), (20, 41, 5, 40), (60, 1, 82, 1)):
            part, part_valid = scene.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part, values[:, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])


@pytest.mark.parametrize("variant", ["MGD", "GEC"])
def test_an_angle_that_bends_is_followed(tmp_path, variant):
    made = MadeUp(variant, angle=lambda row, col: 32 + 0.05 * col - 2e-4 * (col - 30) ** 2 + 0.004 * row)
    with open_scene(made.write(tmp_path)) as scene:
        np.testing.assert_allclose(scene.read(0, 61)[0], made.by_hand(("HH", "VV"))[0],
                                   rtol=1e-3 if variant == "MGD" else 1e-5)       # GEOREF is linear between its points


@pytest.mark.parametrize("kind", ["MGD", "MGD-ascending", "MGD-both", "MGD-inside"])
def test_an_image_in_radar_geometry_has_control_points_where_its_pixels_lie(tmp_path, kind):
    made = MadeUp(**KINDS[kind])
    with open_scene(made.write(tmp_path)) as scene:
        assert scene.geo.transform is None and scene.geo.gcp_crs.to_epsg() == 4326 and len(scene.geo.gcps) == math.prod(map(len, made.node_places()))
        for point in scene.geo.gcps:
            lon, lat = made.lon_lat(point.row - 0.5, point.col - 0.5)
            assert abs(point.x - lon) < 2e-6 and abs(point.y - lat) < 2e-6 and abs(point.z - (100 + point.row - 0.5)) < 1e-3     # a fiftieth of a pixel


def test_predict_takes_the_folder_or_its_xml_and_the_map_lies_on_the_products_grid(tmp_path):
    engine = random_engine(tmp_path / "x.engine", ("HH", "VV"), input=plain_input(2, unit="db", floor=-40.0, mean=(-12.0, -12.0), std=(6.0, 6.0)))
    for variant in ("MGD", "EEC"):
        made = MadeUp(variant)
        folder = made.write(tmp_path)
        done = command.run("predict", folder, engine, "-o", tmp_path / f"{variant}.tif")
        assert done.returncode == 0, done.stderr
        said = " ".join(done.stdout.split())
        for words in (f"TSX-1 {variant}, mode SM, descending, looking right", "calibrated to sigma0", "bands HH, VV in intensity", "layout only",
                      f"noise not removed; the product states it, as beta0 in the middle of its range: HH {10 * math.log10(1.1e-5 * 500):.1f} dB, VV"):
            assert words in said, said
        with rasterio.open(tmp_path / f"{variant}.tif") as labels:
            np.testing.assert_array_equal(labels.read(1) == 255, ~made.by_hand(("HH", "VV"))[1])
            assert (labels.crs, labels.transform) == (CRS, UTM) if variant == "EEC" else len(labels.gcps[0]) == 110
        with open_scene(folder / f"{made.name}.xml") as scene:
            assert scene.band_names == ("HH", "VV") and {file.name for file in scene.files} >= {f"{made.name}.xml", "GEOREF.xml"}
        command.failed(command.run("predict", folder, engine, "-o", tmp_path / "other.tif", "--unit", "amplitude"), "leave --unit out")
        for image in (folder / made.image("HH"), folder / made.image("VV")):
            command.failed(command.run("predict", folder, engine, "-o", image, "--overwrite"), image.name)


def test_gdals_own_reader_gives_the_same_numbers_and_place(tmp_path):
    with rasterio.Env() as gdal:
        if "TSX" not in gdal.drivers():
            pytest.skip("this GDAL has no driver TSX")
    made = MadeUp("GEC")
    folder = made.write(tmp_path)
    with open_scene(folder, SceneRequest(quantity="beta0")) as scene, rasterio.open(folder / f"{made.name}.xml", driver="TSX") as theirs:
        factors = np.array([made.factors[pol] for pol in ("HH", "VV")])[:, np.newaxis, np.newaxis]
        np.testing.assert_allclose(scene.read(0, scene.rows)[0], theirs.read().astype(np.float64) ** 2 * factors, rtol=1e-6)
        assert (scene.geo.transform, scene.geo.crs) == (theirs.transform, theirs.crs)
        assert [theirs.tags(band)["POLARIMETRIC_INTERP"] for band in (1, 2)] == ["HH", "VV"]


def test_a_map_may_be_wider_than_the_scene_on_it(tmp_path):
    made = MadeUp("EEC", beyond=(-18, -25))             # points that end 18 and 25 pixels before the image does: room for the shift of mountains
    with open_scene(made.write(tmp_path)) as scene:
        values = scene.read(0, scene.rows)[0]
    inside = np.s_[:, 20:-20, 28:-28]                   # up to a node from the points' edge, beyond which the outermost angle counts
    np.testing.assert_allclose(values[inside], made.by_hand(("HH", "VV"))[0][inside], rtol=1e-5)
    with pytest.raises(RasterError, match="points do not cover the image"):
        open_scene(MadeUp("EEC", beyond=(0, -29)).write(tmp_path / "too narrow"))


def test_beta_nought_of_an_image_on_a_map_needs_no_angles(tmp_path):
    made = MadeUp("GEC")
    folder = made.write(tmp_path)
    (folder / "ANNOTATION" / "GEOREF.xml").unlink()
    with open_scene(folder, SceneRequest(quantity="beta0")) as scene:
        np.testing.assert_allclose(scene.read(0, 61)[0], made.by_hand(("HH", "VV"), "beta0")[0], rtol=1e-6)


def local_angles(made):
    """Slopes of up to 25 degrees either way, layover and shadow marked, and a hole."""
    tenths = np.array([[round(10 * (made.angle(row, col) + 25 * math.sin(row / 5) * math.cos(col / 7))) for col in range(made.cols)] for row in range(made.rows)])
    gim = (10 * tenths + np.arange(made.cols) % 4).astype(np.uint16)
    gim[5:9, 30:50] = 0
    gim[20:22, 3:6] = 9     # a mark without an angle
    gim[24:26, 3:6] = 18000
    return tenths, gim


@pytest.mark.parametrize("kind", ["uint16", "int16"])
def test_sigma_nought_of_an_eec_goes_by_its_local_angles_where_they_are_there(tmp_path, kind):
    made = MadeUp("EEC")
    tenths, gim = local_angles(made)
    made.gim, stated = gim.astype(kind), (gim >= 10) & (gim < 18000)
    folder = made.write(tmp_path)
    beta, valid = made.by_hand(("HH", "VV"), "beta0")
    with open_scene(folder, SceneRequest(quantity="sigma0")) as scene:
        values, found = scene.read(0, 61)
        np.testing.assert_allclose(values[:, stated], (beta * np.sin(np.deg2rad(tenths / 10)))[:, stated], rtol=1e-6)
        np.testing.assert_array_equal(found, valid & (stated))
        part, part_valid = scene.read_part(4, 11, 20, 37)
        np.testing.assert_array_equal(part, values[:, 4:15, 20:57])
        np.testing.assert_array_equal(part_valid, found[4:15, 20:57])
        assert "slopes of the terrain included" in scene.notes[0] and folder / "AUXRASTER" / "GIM.tif" in scene.geo.files
    with open_scene(folder, SceneRequest(quantity="gamma0")) as scene:
        np.testing.assert_allclose(scene.read(0, 61)[0], made.by_hand(("HH", "VV"), "gamma0")[0], rtol=1e-6)
        assert "without the slopes of the terrain" in scene.notes[0]


def test_noise_that_the_processor_removed_is_told_so(tmp_path):
    made = MadeUp()
    folder = made.write(tmp_path)
    flags = "<processing><processingFlags><noiseCorrectedFlag>true</noiseCorrectedFlag></processingFlags></processing></level1Product>"
    (folder / f"{made.name}.xml").write_text(made.product_xml().replace("</level1Product>", flags))
    with open_scene(folder) as scene:
        assert "noise removed by the processor, as the product says" in scene.notes and not any("not removed" in note for note in scene.notes)


def test_a_scene_over_the_date_line_is_placed_on_both_sides(tmp_path):
    made = MadeUp()
    made.lon_lat = lambda row, col: ((179.999 + 1e-4 * col + 180) % 360 - 180, 10 - 1e-4 * row)
    with open_scene(made.write(tmp_path)) as scene:
        assert {point.x > 0 for point in scene.geo.gcps} == {True, False}
        for point in scene.geo.gcps:
            assert abs((point.x - made.lon_lat(point.row - 0.5, point.col - 0.5)[0] + 180) % 360 - 180) < 1e-6 and abs(point.x) <= 180


def test_a_folder_of_products_calibrates_an_export(tmp_path):
    folders = [MadeUp("MGD").write(tmp_path), MadeUp("EEC").write(tmp_path)]
    assert [scene.files for scene in scene_files([tmp_path], ("HH", "VV"))] == sorted((folder,) for folder in folders)


@pytest.mark.parametrize(("old", "new"), [('exponent="1"', 'exponent="0"'), ('exponent="1"', 'exponent="999"'), ('exponent="1"', ""), ("<noise ", "<other "),
                                          ("390.0", "-9e9")])
def test_noise_that_is_not_stated_as_is_known_is_told_and_changes_nothing(tmp_path, old, new):
    made = MadeUp()
    folder = made.write(tmp_path)
    (folder / f"{made.name}.xml").write_text(made.product_xml().replace(old, new).replace("</noise>", "</other>" if "other" in new else "</noise>"))
    with open_scene(folder) as scene:
        assert "noise not removed; how strong it is could not be read from the product" in scene.notes
        np.testing.assert_allclose(scene.read(0, 61)[0], made.by_hand(("HH", "VV"))[0], rtol=1e-6)
