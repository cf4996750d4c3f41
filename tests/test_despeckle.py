"""`hfd-edge despeckle`: the file holds what the filter makes of the whole scene, in the unit and place of the input."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import rasterio

from hfd_edge import speckle
from hfd_edge.errors import ArrayError, HfdError, RasterError
from hfd_edge.raster_run import RasterOptions
from hfd_edge.scene import measure_array
from hfd_edge.scene.filter import DespeckleOptions, despeckle_raster
from tests import command
from tests.rasters import UTM, write_tif
from tests.snap_files import band_info, header, write_snap

TAGS = {"HFD_UNIT": "intensity", "HFD_QUANTITY": "gamma0"}


@pytest.fixture
def scene(tmp_path):
    """(path, power with NaN, mask): intensity, nodata 0 in a wedge, NaN in a hole."""
    power = np.random.default_rng(8).gamma(4.4, 0.02, (2, 210, 170)).astype(np.float32)
    power[:, :, :4] = 0
    power[1, 40:60, 20:50] = np.nan
    path = write_tif(tmp_path / "scene.tif", power, nodata=0, crs="EPSG:32633", transform=UTM, descriptions=("VV", "VH"),
                     tags=TAGS)
    return path, power, (np.isfinite(power) & (power != 0)).all(axis=0)


def read(path):
    """(values, tags, names of the bands, profile)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                     # no georeference
        with rasterio.open(path) as dataset:
            return dataset.read(), dataset.tags(), dataset.descriptions, dataset.profile


@pytest.mark.parametrize("name", speckle.FILTERS)
def test_the_file_holds_the_filtered_scene_to_the_bit_strip_by_strip(scene, tmp_path, monkeypatch, name):
    monkeypatch.setattr("hfd_edge.scene.strips._MOST_ROWS", 17)
    monkeypatch.setattr("hfd_edge.scene.strips._LEAST_ROWS", 17)
    path, power, mask = scene
    options = DespeckleOptions(name, looks=4.4 if name in speckle.NEED_LOOKS else None)
    report = despeckle_raster(path, tmp_path / "out.tif", options)
    bright = measure_array(np.where(mask, power, np.nan)).bright if name == "lee_sigma" else None
    want = speckle.SpeckleFilter(name, 4.4, bright=bright).apply(power, mask)
    got, tags, names, profile = read(tmp_path / "out.tif")
    np.testing.assert_array_equal(got, want)
    assert profile["dtype"] == "float32" and np.isnan(profile["nodata"]) and profile["crs"].to_epsg() == 32633
    assert profile["transform"] == UTM and names == ("VV", "VH")
    assert tags["HFD_UNIT"] == "intensity" and tags["HFD_QUANTITY"] == "gamma0" and tags["HFD_SPECKLE_FILTER"].startswith(name)
    assert report.nodata_share == pytest.approx(1 - mask.mean()) and report.halo_px == 3


def test_a_scene_in_decibels_or_amplitude_comes_out_in_its_own_unit(tmp_path):
    power = np.random.default_rng(1).gamma(4.4, 0.02, (1, 90, 80)).astype(np.float32)
    want = speckle.lee(power, 4.4)
    forms = (("db", 10 * np.log10(power), lambda x: 10 ** (x / 10)), ("amplitude", np.sqrt(power), np.square))
    for unit, stored, back in forms:
        path, out = write_tif(tmp_path / f"{unit}.tif", stored.astype(np.float32)), tmp_path / f"{unit}_out.tif"
        report = despeckle_raster(path, out, DespeckleOptions(looks=4.4, raster=RasterOptions(unit)))
        assert report.unit == unit and report.looks_from == "given"
        np.testing.assert_allclose(back(read(out)[0]), want, rtol=1e-4)
        other = despeckle_raster(path, tmp_path / f"{unit}_lin.tif",
                                 DespeckleOptions(looks=4.4, output_unit="intensity", raster=RasterOptions(unit)))
        assert other.unit == "intensity"
        np.testing.assert_allclose(read(tmp_path / f"{unit}_lin.tif")[0], want, rtol=1e-4)


def test_zero_power_is_data_and_has_a_floor_in_decibels(tmp_path):
    power = np.full((1, 30, 30), 0.25, np.float32)
    power[:, 10:, :] = 0
    path = write_tif(tmp_path / "dark.tif", power)
    options = DespeckleOptions("boxcar", output_unit="db", raster=RasterOptions("intensity"))
    despeckle_raster(path, tmp_path / "out.tif", options)
    got = read(tmp_path / "out.tif")[0]
    assert np.isfinite(got).all() and got[0, 29, 0] == -100 and got[0, 0, 0] == pytest.approx(-6.02, abs=0.01)


def test_complex_pixels_become_intensity(tmp_path):
    rng = np.random.default_rng(3)
    slc = (rng.normal(size=(1, 60, 60)) + 1j * rng.normal(size=(1, 60, 60))).astype(np.complex64)
    path = write_tif(tmp_path / "slc.tif", slc)
    assert despeckle_raster(path, tmp_path / "out.tif", DespeckleOptions(looks=1)).unit == "intensity"
    want = speckle.lee((slc.real ** 2 + slc.imag ** 2), 1)
    np.testing.assert_allclose(read(tmp_path / "out.tif")[0], want, rtol=1e-5)


def test_looks_that_are_not_given_are_estimated_once_for_the_scene_and_told(scene, tmp_path):
    path, power, mask = scene
    out = tmp_path / "out.tif"
    done = command.run("despeckle", path, "-o", out, "--filter", "gamma_map", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    looks = measure_array(np.where(mask, power, np.nan)).enl
    assert told["looks"] == pytest.approx(looks) == pytest.approx(4.4, rel=0.1) and told["looks_from"] == "estimated"
    np.testing.assert_array_equal(read(out)[0], speckle.gamma_map(power, looks, mask=mask))
    assert "(estimated)" in read(out)[1]["HFD_SPECKLE_FILTER"]
    assert "estimated" in command.run("despeckle", path, "-o", out, "--overwrite").stdout


@pytest.mark.parametrize("words, told", [
    (("--radius", "9"), "radius=9"), (("--looks", "0"), "looks=0"), (("--filter", "refined_lee", "--radius", "2"), "7 x 7"),
    (("--output-unit", "complex"), "output unit complex"), (("--bands", "5"), "band 5"),
    (("--filter", "lee_sigma", "--sigma", "1.5"), "sigma=1.5")])
def test_what_cannot_be_done_is_refused_before_any_work_and_leaves_no_file(scene, tmp_path, words, told):
    path, out = scene[0], tmp_path / "no" / "out.tif"
    out.parent.mkdir()
    command.failed(command.run("despeckle", path, "-o", out, *words), told)
    assert not list(out.parent.iterdir())


def test_nothing_is_replaced_unasked_and_an_input_never(scene, tmp_path):
    path = scene[0]
    with pytest.raises(RasterError, match="input"):
        despeckle_raster(path, path, DespeckleOptions(looks=4.0, raster=RasterOptions(overwrite=True)))
    (tmp_path / "out.tif").write_bytes(b"mine")
    with pytest.raises(RasterError, match="exists"):
        despeckle_raster(path, tmp_path / "out.tif", DespeckleOptions(looks=4.0))
    with pytest.raises(ArrayError, match="output_unit"):
        despeckle_raster(path, tmp_path / "new.tif", DespeckleOptions(looks=4.0, output_unit="volt"))
    assert not (tmp_path / "new.tif").exists()


def test_a_flat_scene_has_no_looks_to_estimate_and_leaves_no_file(tmp_path):
    path = write_tif(tmp_path / "flat.tif", np.full((1, 40, 40), 0.2, np.float32))
    with pytest.raises(HfdError, match="looks"):
        despeckle_raster(path, tmp_path / "out.tif", DespeckleOptions(raster=RasterOptions("intensity")))
    assert [p.name for p in tmp_path.iterdir()] == ["flat.tif"]


@pytest.mark.parametrize(("value", "nodata", "told"), [(0, None, True), (1, None, True), (0, 0, False)])
def test_a_border_of_one_value_is_told(tmp_path, value, nodata, told):
    power = np.random.default_rng(8).gamma(4.4, 0.02, (2, 210, 170)).astype(np.float32)
    power[:, :, :20] = value
    path = write_tif(tmp_path / "a.tif", power, descriptions=("VV", "VH"), tags=TAGS, **({} if nodata is None else {"nodata": nodata}))
    done = command.run("despeckle", path, "-o", tmp_path / "out.tif", "--looks", "4.4")
    words = f"about 12% of the pixels (of a sample) are exactly {value} in every band and were filtered: if that means nodata, give --nodata {value} "
    assert done.returncode == 0 and (words in done.stdout) == told, done.stdout + done.stderr
    report = json.loads(command.run("despeckle", path, "-o", tmp_path / "other.tif", "--looks", "4.4", "--json").stdout)
    assert len(report["notes"]) == told


def test_scene_and_despeckle_tell_of_a_header_of_snap_that_cannot_be_used(tmp_path):
    path = write_snap(tmp_path / "a.tif", np.random.default_rng(8).gamma(4.4, 0.02, (2, 90, 70)).astype(np.float32), header(band_info(0, "VV")))
    for words in (("scene", path), ("despeckle", path, "-o", tmp_path / "out.tif", "--looks", "4.4")):
        assert "TIFF tag 65000) are not used" in command.run(*words, "--unit", "intensity").stdout
    assert len(json.loads(command.run("scene", path, "--unit", "intensity", "--json").stdout)["notes"]) == 1
