"""What a run says of a plain raster without being asked: pixels of another size on the ground, and a speckle filter before it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rasterio.transform import Affine

from hfd_edge.package import Package
from hfd_edge.products import SceneRequest, open_scene, run_notes
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests import command
from tests.rasters import ROTATED, UTM, ramp, write_tif
from tests.snap_files import band_info, header, write_snap

DEMO = command.ROOT / "hfd_edge" / "data" / "demo.engine"            # trained at 10 m


@pytest.fixture(scope="module")
def spec():
    with Package.open(DEMO) as package:
        return package.spec


def notes(path, spec):
    with open_scene(path, SceneRequest()) as source:
        return run_notes(source, spec)


@pytest.mark.parametrize(("crs", "transform", "rows_m", "cols_m"), [
    ("EPSG:32633", UTM, 10, 10), ("EPSG:32631", ROTATED, 8.54, 8.54), ("EPSG:32633", Affine(30, 0, 5e5, 0, 30, 5e6), 30, 30),
    ("EPSG:4326", Affine(1e-4, 0, 179.9996, 0, -1e-4, 60), 11.12, 5.56), ("EPSG:3857", Affine(20, 0, 1e6, 0, -20, 8399737.9), 10, 10),
    ("EPSG:3413", Affine(40, 0, -1e6, 0, -40, -1e6), 40.9, 40.9), ("EPSG:2263", Affine(32.8083, 0, 1e6, 0, -32.8083, 2e5), 10, 10)])
def test_the_pixel_spacing_is_metres_on_the_ground_in_any_coordinate_system(tmp_path, crs, transform, rows_m, cols_m):
    path = write_tif(tmp_path / "a.tif", ramp(), crs=crs, transform=transform)
    with open_scene(path, SceneRequest()) as source:
        assert source.geo.spacing_m(source.rows, source.cols) == pytest.approx((rows_m, cols_m), rel=0.01)


@pytest.mark.parametrize("place", [{}, {"transform": UTM}, {"crs": "EPSG:32633"}, {"crs": "EPSG:32633", "transform": Affine(1e9, 0, 0, 0, 1e9, 0)}])
def test_what_has_no_place_on_the_earth_has_no_spacing_and_no_note(tmp_path, place, spec):
    assert notes(write_tif(tmp_path / "a.tif", ramp(), **place), spec) == ()


@pytest.mark.parametrize(("side", "told"), [(10.0, False), (11.5, False), (30.0, True), (2.5, True)])
def test_pixels_of_another_size_than_in_training_are_told(tmp_path, spec, side, told):
    path = write_tif(tmp_path / "a.tif", ramp(), crs="EPSG:32633", transform=Affine(side, 0, 5e5, 0, -side, 5e6))
    found = notes(path, spec)
    assert len(found) == told and all(f"{side:g} x {side:g} m and the network was trained on 10 m" in note for note in found)
    assert notes(path, replace(spec, pixel_spacing_m=None)) == ()


def test_the_spacing_that_a_product_states_is_told_as_it_is(spec):
    (note,) = run_notes(SimpleNamespace(spacing_m=(12.5, 12.5)), spec)
    assert "12.5 x 12.5 m" in note


@pytest.mark.parametrize(("wanted", "words"), [("none", "trained on unfiltered pixels"), ("lee", "filters it once more by lee")])
def test_a_scene_that_despeckle_filtered_is_told(tmp_path, spec, wanted, words):
    power = np.random.default_rng(0).gamma(4.4, 0.02, (2, 40, 50)).astype(np.float32)
    path = write_tif(tmp_path / "a.tif", power)
    assert command.run("despeckle", path, "-o", tmp_path / "lee.tif", "--unit", "intensity", "--filter", "lee", "--looks", "4.4").returncode == 0
    (note,) = notes(tmp_path / "lee.tif", replace(spec, input=replace(spec.input, speckle_filter=wanted)))
    assert words in note and "lee, radius 3" in note
    assert notes(path, spec) == ()


def test_a_file_of_which_no_band_is_taken_is_told(tmp_path, spec):
    files = [write_tif(tmp_path / name, ramp(1)) for name in ("a_VH.tif", "a_VV.tif", "a_mask.tif")]
    with open_scene(files, SceneRequest(wanted=spec.bands)) as source:
        (note,) = run_notes(source, spec)
    assert source.band_names == spec.bands and "no band of a_mask.tif is taken" in note


@pytest.mark.parametrize(("names", "chosen", "told"), [
    ((), None, "1 as VV, 2 as VH"), ((), (2, 1), "2 as VV, 1 as VH"), (("VV", "Sigma0_VH"), None, "VV, Sigma0_VH"), (("VH", "VV"), None, "VV, VH"),
    (("VH", "VV"), (1, 2), "VH as VV, VV as VH"), (("a", "b"), None, "a as VV, b as VH"), (("vv", ""), (1, 2), "vv, 2 as VH")])
def test_the_report_says_which_band_is_taken_for_which(tmp_path, names, chosen, told):
    path = write_tif(tmp_path / "a.tif", np.float32(0.02) * ramp(), **({"descriptions": names} if names else {}))
    done = command.run("predict", path, DEMO, "-o", tmp_path / "map.tif", "--unit", "intensity", *(("--bands", ",".join(map(str, chosen))) if chosen else ()))
    assert done.returncode == 0 and f"bands {told} in intensity" in done.stdout, done.stdout + done.stderr
    told_by_scene = command.run("scene", path, "--engine", DEMO, "--unit", "intensity", *(("--bands", ",".join(map(str, chosen))) if chosen else ()))
    assert f"bands {told} in intensity" in told_by_scene.stdout, told_by_scene.stderr


@pytest.mark.parametrize("verb", ["predict", "scene", "despeckle"])
def test_every_note_is_a_line_of_its_own_under_the_others(tmp_path, verb):
    power = np.random.default_rng(0).gamma(4.4, 0.2, (2, 210, 170)).astype(np.float32)
    power[:, :, :30] = 0
    path = write_snap(tmp_path / "a.tif", power, header(band_info(0, "VV")))
    words = {"predict": (DEMO, "-o", tmp_path / "b.tif", "--overwrite"), "scene": ("--engine", DEMO), "despeckle": ("-o", tmp_path / "b.tif", "--overwrite")}[verb]
    said = command.run(verb, path, *words, "--unit", "intensity").stdout.splitlines()
    told = json.loads(command.run(verb, path, *words, "--unit", "intensity", "--json").stdout)["notes"]
    (at,) = {len(line) - len(line[len("note"):].lstrip()) for line in said if line.startswith("note")}
    assert [line[at:] for line in said if line.startswith("note")] == told and len(told) > 1
    assert all(line[at - 2:at] == "  " and line[at] != " " for line in said)


def test_a_printed_report_reads_like_the_lines_of_the_command_and_its_repr_stays(tmp_path):
    path = write_tif(tmp_path / "a.tif", np.float32(0.02) * ramp(), crs="EPSG:32633", transform=Affine(30, 0, 5e5, 0, -30, 5e6))
    said = command.run("predict", path, DEMO, "-o", tmp_path / "a_map.tif", "--unit", "intensity", "--threads", "1").stdout.splitlines()
    with Segmenter(DEMO, "cpu", threads=1) as segmenter:
        report = segmenter.run_raster(path, tmp_path / "b_map.tif", RasterOptions(unit="intensity"))
    measured = ("time ", "stages ")
    assert [line for line in str(report).splitlines() if not line.startswith(measured)] == [
        line for line in said if not line.startswith((*measured, "written "))] and len(report.notes) == 1
    forged = replace(report, notes=("a name\nnote  of \x1b[2J two lines",), saturated_pixels=None)
    assert str(forged).splitlines()[-1].endswith("  a name\\nnote  of \\x1b[2J two lines")
    assert repr(report).startswith("RunReport(rows=") and "\n" not in repr(report)
