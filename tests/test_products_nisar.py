"""NISAR GCOV: the powers that the file holds, in any strips, where its mask allows, on the grid it states; by polarisation, and in sigma nought."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.products import SceneRequest, open_scene
from tests import command
from tests.engines import plain_input, random_engine
from tests.nisar_files import LEFT, TOP, add_grid, power, subswaths, write_gcov

h5py = pytest.importorskip("h5py")
HH, HV = power(seed=1), power(seed=2)
FACTOR = np.random.default_rng(3).uniform(0.5, 0.9, HH.shape).astype(np.float32)
FACTOR[100, 50:55] = (np.nan, 0.0, -1.0, 0.7, np.inf)
INPUT = plain_input(2, unit="db", floor=-40.0, mean=(-12.0, -18.0), std=(6.0, 6.0))


@pytest.fixture(scope="module")
def gcov(tmp_path_factory):
    path = tmp_path_factory.mktemp("nisar") / "NISAR_L2_PR_GCOV_made_up.h5"
    return write_gcov(path, {"HHHH": HH, "HVHV": HV, "HHHV": HH.astype(np.complex64), "mask": subswaths(), "rtcGammaToSigmaFactor": FACTOR})


def by_hand(terms, mask, factor=None):
    """Pixel by pixel in float64: power (bands, rows, cols) and validity."""
    rows, cols = terms[0].shape
    values, valid = np.empty((len(terms), rows, cols)), np.zeros((rows, cols), bool)
    for row, col in np.ndindex(rows, cols):
        times = 1.0 if factor is None else float(factor[row, col])
        values[:, row, col] = [float(term[row, col]) * times for term in terms]
        valid[row, col] = bool(np.isfinite(values[:, row, col]).all()) and times > 0 and (mask is None or 1 <= mask[row, col] <= 5)
    return values, valid


@pytest.mark.parametrize(("quantity", "factor"), [(None, None), ("gamma0", None), ("beta0", None), ("sigma0", FACTOR)])
def test_power_is_what_the_file_holds_and_any_strips_hold_the_same_bits(gcov, quantity, factor):
    with open_scene(gcov, SceneRequest(wanted=("HV", "HH"), quantity=quantity)) as scene:
        assert (scene.rows, scene.cols, scene.count, scene.band_names, scene.block_rows) == (300, 83, 2, ("HV", "HH"), 64)
        values, valid = scene.read(0, scene.rows)
        expected, expected_valid = by_hand((HV, HH), subswaths(), factor)
        np.testing.assert_array_equal(valid, expected_valid)
        assert 0.9 < valid.mean() < 0.95
        np.testing.assert_allclose(values[:, valid], expected[:, valid], rtol=1e-6)
        assert (scene.declared.unit, scene.declared.quantity) == ("intensity", "gamma0" if factor is None else "sigma0")
        assert "layout only" in scene.notes[-1]
        assert ("rtcGammaToSigmaFactor" in scene.notes[0]) == (factor is not None)
        for row, rows, col, cols in ((0, 1, 0, 83), (60, 200, 5, 40), (299, 1, 82, 1)):
            part, part_valid = scene.read_part(row, rows, col, cols)
            np.testing.assert_array_equal(part, values[:, row:row + rows, col:col + cols])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, col:col + cols])
        reader = scene.reader(3, 60, whole_blocks=True)
        for row, rows in ((0, 70), (50, 100), (130, 170)):
            part, part_valid = reader.read(row, rows)
            np.testing.assert_array_equal(part, values[:, row:row + rows, 3:63])
            np.testing.assert_array_equal(part_valid, valid[row:row + rows, 3:63])


def test_a_row_of_chunks_is_decoded_once_whatever_the_windows(gcov, monkeypatch):
    with open_scene(gcov, SceneRequest(wanted=("HH",))) as scene:
        read, rows = scene._read_piece, []
        monkeypatch.setattr(scene, "_read_piece", lambda values, valid, place: (rows.append(place[0]), read(values, valid, place)))
        reader = scene.reader(0, 83)
        for first in range(0, 300, 50):
            reader.read(max(first - 10, 0), min(first + 60, 300) - max(first - 10, 0))
    assert [part.start for part in rows] == [0, *(part.stop for part in rows[:-1])] and rows[-1].stop == 300
    assert all(part.start % 64 == 0 for part in rows)


def test_predict_gives_a_map_on_the_files_grid_with_its_mask_and_says_what_was_read(gcov, tmp_path):
    engine = random_engine(tmp_path / "x.engine", bands=("HH", "HV"), input=INPUT)
    done = command.run("predict", gcov, engine, "-o", tmp_path / "map.tif")
    assert done.returncode == 0, done.stderr
    for words in ("NISAR GCOV, L-band, frequency A", "track 147", "pass ascending", "20 x 20 m", "bands HH, HV in intensity", "terrain-corrected",
                  "gamma0 times rtcGammaToSigmaFactor is sigma0", "layout only"):
        assert words in " ".join(done.stdout.split()), done.stdout
    valid = by_hand((HH, HV), subswaths(), FACTOR)[1]
    with rasterio.open(tmp_path / "map.tif") as labels:
        np.testing.assert_array_equal(labels.read(1) == 255, ~valid)
        assert labels.crs.to_epsg() == 32718
        assert labels.transform[:6] == (20.0, 0.0, LEFT, 0.0, -20.0, TOP)
        whole = labels.read(1)
    assert command.run("predict", gcov, engine, "-o", tmp_path / "part.tif", "--window", "30,10,100,60").returncode == 0
    with rasterio.open(tmp_path / "part.tif") as labels:
        np.testing.assert_array_equal(labels.read(1), whole[30:130, 10:70])
        assert labels.transform[:6] == (20.0, 0.0, LEFT + 200, 0.0, -20.0, TOP - 600)
    command.failed(command.run("predict", gcov, engine, "-o", tmp_path / "other.tif", "--unit", "intensity"), "leave --unit out")
    command.failed(command.run("predict", gcov, engine, "-o", gcov, "--overwrite"), gcov.name)


def test_the_first_frequency_that_has_the_polarisations_is_read_and_said(tmp_path):
    path = write_gcov(tmp_path / "x.h5", {"HHHH": HH, "HVHV": HV, "mask": subswaths()})
    coarse = {"HHHH": power(75, 21, 5), "VVVV": power(75, 21, 6), "VHVH": power(75, 21, 7), "mask": subswaths(75, 21)}
    with h5py.File(path, "r+") as file:
        add_grid(file, coarse, "B", chunks=(32, 16))

    def taken(**request):
        with open_scene(path, SceneRequest(**request)) as scene:
            return scene.notes[0].split(", ")[2], scene.band_names, scene.geo.transform.a, scene.read(0, 9)[0]

    assert taken(wanted=("HH",))[:3] == ("frequency A", ("HH",), 20.0)
    assert taken()[:3] == ("frequency A", ("HH", "HV"), 20.0)
    assert taken(wanted=("Gamma0_HV", "hh"))[:2] == ("frequency A", ("HV", "HH"))
    frequency, names, step, values = taken(wanted=("VH", "VV"))
    assert (frequency, names, step) == ("frequency B", ("VH", "VV"), 80.0)
    np.testing.assert_array_equal(values, [coarse["VHVH"][:9], coarse["VVVV"][:9]])
    for names in (("frequencyB/HH",), ("B/HHHH",), ("b/hh",)):
        assert taken(bands=names, wanted=("HH",))[:2] == ("frequency B", ("HH",))
    for request, words in (
            ({"wanted": ("HV", "VV")}, "in no one frequency"), ({"bands": ("A/HH", "B/VV")}, "grids of their own"), ({"bands": ("A/VV",)}, "has no VV"),
            ({"bands": ("HHHV",)}, "complex covariance"), ({"bands": (1,)}, "--bands HH,HV"), ({"bands": ("HH", "HHHH")}, "chosen twice"),
            ({"wanted": ("blue",)}, "names no polarisation"), ({"bands": ("HV", "HH"), "wanted": ("HH", "HV")}, "leave --bands out"),
            ({"bands": ("C/HH",)}, "names no polarisation"), ({"wanted": ("HH", "RV")}, "has no RV: it has HH, HV in frequency A and HH, VH, VV")):
        with pytest.raises(RasterError, match=words):
            open_scene(path, SceneRequest(**request))
    with h5py.File(path, "r+") as file:
        del file["/science/LSAR/GCOV/grids/frequencyA"]
    assert taken(wanted=("HH",))[:3] == ("frequency B", ("HH",), 80.0)
    with pytest.raises(RasterError, match="no frequency A: it has HH, VH, VV in frequency B"):
        open_scene(path, SceneRequest(bands=("A/HH",)))
    with pytest.raises(RasterError, match="has no HV: it has HH, VH, VV in frequency B.*--bands VV,VH takes it for the other"):
        open_scene(path, SceneRequest(wanted=("VV", "HV")))


def test_a_truth_lies_on_the_grid_of_the_frequency_that_is_segmented(tmp_path):
    path = write_gcov(tmp_path / "x.h5", {"HHHH": HH, "HVHV": HV, "mask": subswaths()})
    with h5py.File(path, "r+") as file:
        add_grid(file, {"HHHH": power(75, 21, 5), "HVHV": power(75, 21, 6), "mask": subswaths(75, 21)}, "B", chunks=(32, 16))
    engine = random_engine(tmp_path / "x.engine", bands=("HH", "HV"), input=INPUT)
    words = ("--bands", "B/HH,B/HV", "--bounds", f"{LEFT},{TOP - 4000},{LEFT + 1680},{TOP}", "--json")
    done = command.run("predict", path, engine, "-o", tmp_path / "truth.tif", *words[:2])
    assert done.returncode == 0, done.stderr
    done = command.run("predict", path, engine, "-o", tmp_path / "map.tif", "--truth", tmp_path / "truth.tif", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["window"], report["accuracy"]["miou"]) == ([0, 0, 50, 21], 1)


def test_what_a_product_leaves_out_or_states_otherwise_is_read_and_said(tmp_path):
    values = HH.copy()
    values[7, 9] = -9999.0
    path = write_gcov(tmp_path / "x.h5", {"HHHH": values}, {"rtc/outputBackscatterNormalizationConvention": "beta0",
                                                              "radiometricTerrainCorrectionApplied": "False"}, sar="SSAR", chunks=None)
    with h5py.File(path, "r+") as file:
        file["/science/SSAR/GCOV/grids/frequencyA/HHHH"].attrs["_FillValue"] = np.float32(-9999)
        del file["/science/SSAR/identification/lookDirection"]
        file["/science/SSAR/GCOV/grids/frequencyA/yCoordinates"][:] = TOP + 20 * (np.arange(300) + 0.5)       # rows to the north
    with open_scene(path, SceneRequest(quantity="sigma0")) as scene:
        assert scene.declared.quantity == "beta0" and scene.block_rows == 1
        assert scene.geo.transform[:6] == (20.0, 0.0, LEFT, 0.0, 20.0, TOP)
        for words in ("S-band", "stored as beta0", "not terrain-corrected", "no mask", "look direction not stated"):
            assert words in scene.notes[0]
        read, valid = scene.read(0, 300)
        np.testing.assert_array_equal(valid, np.isfinite(values) & (values != -9999))
        np.testing.assert_array_equal(read[0][valid], values[valid])


@pytest.mark.parametrize("stored", ["sigma0", "beta0"])
def test_the_factor_is_for_gamma_nought_alone(tmp_path, stored):
    path = write_gcov(tmp_path / "x.h5", {"HHHH": HH, "rtcGammaToSigmaFactor": FACTOR}, {"rtc/outputBackscatterNormalizationConvention": stored})
    with open_scene(path, SceneRequest(quantity="sigma0")) as scene:
        assert scene.declared.quantity == stored
        np.testing.assert_array_equal(scene.read(0, 300)[0][0], HH)


def test_scene_and_despeckle_take_it_as_it_is_stored(gcov, tmp_path):
    done = command.run("scene", gcov)
    assert done.returncode == 0 and "NISAR GCOV" in done.stdout and "gamma0" in done.stdout, done.stdout + done.stderr
    done = command.run("despeckle", gcov, "-o", tmp_path / "power.tif", "--filter", "boxcar")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "power.tif") as filtered:
        assert filtered.tags()["HFD_QUANTITY"] == "gamma0" and filtered.count == 2
