"""Pixels at the end of their scale stay valid and are counted; nodata wins, halos count once, and the plane says what each pixel is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from hfd_edge.errors import RadiometryError
from hfd_edge.radiometry import SourceRadiometry, check_declared
from hfd_edge.segmenter import Segmenter
from hfd_edge.source.saturation import saturated
from tests import command
from tests.rasters import UTM, write_tif

DEMO = command.ROOT / "hfd_edge" / "data" / "demo.engine"


def reference(values, valid, nodata, level):
    """Pixel by pixel, as it is said."""
    found = np.zeros(values.shape[1:], bool)
    for row, col in np.ndindex(found.shape):
        numbers = [complex(band[row, col]) for band in values]
        known = all(np.isfinite(number) and number not in nodata for number in numbers) and (valid is None or valid[row, col])
        parts = [(abs(n.real), abs(n.imag)) if values.dtype.kind == "c" else (n.real,) for n in numbers]
        found[row, col] = known and max(map(max, parts)) >= level
    return found


@pytest.mark.parametrize("dtype, level", [("uint16", 65535), ("uint16", 65000.5), ("uint8", 300), ("int16", -5), ("float32", 0.9), ("complex64", 0.9)])
def test_saturated_pixels_are_those_that_reach_the_level_in_a_band(dtype, level):
    rng = np.random.default_rng(1)
    kind = np.dtype(dtype).kind
    if kind in "iu":
        values = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (2, 30, 31), dtype, endpoint=True)
        values[0, :5, :9], values[1, 2, 3] = np.iinfo(dtype).max, 7
    else:
        values = rng.uniform(-1.2, 1.2, (2, 30, 31)).astype(dtype)
        values[0, 3, 3] = np.nan
    valid = rng.random((30, 31)) < 0.9
    for mask in (None, valid):
        found = saturated(values, mask, SourceRadiometry("complex" if kind == "c" else "amplitude", nodata=(7.0,), saturation=level))
        np.testing.assert_array_equal(found, reference(values, mask, (7.0,), level))
    assert found.any() == (dtype != "uint8")


@pytest.mark.parametrize("level", [float("nan"), float("inf"), "high"])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(RadiometryError, match="saturation="):
        SourceRadiometry("amplitude", saturation=level)


@pytest.fixture(scope="module")
def scene():
    """(2, 300, 330) uint16 amplitude with saturated pixels, some of them nodata in the other band."""
    rng = np.random.default_rng(2)
    stored = (np.sqrt(rng.gamma(4.4, 0.05 / 4.4, (2, 300, 330))) * 1e4).astype(np.uint16)
    stored[0, ::37, ::41] = 65535
    stored[1, :40] = 0
    return stored, int(((stored[0] == 65535) & (stored[1] != 0)).sum())


@pytest.mark.parametrize("tile, threads", [(448, 1), (320, 2)])
def test_a_run_counts_each_saturated_pixel_once_for_any_tiling_and_changes_no_label(scene, tile, threads):
    stored, wanted = scene
    declared = SourceRadiometry("amplitude", 1e-4, nodata=(0.0,), saturation=65535)
    with Segmenter(DEMO, tile=tile, threads=threads) as segmenter:
        result = segmenter.run(stored, unit=declared)
        plain = segmenter.run(stored, unit=SourceRadiometry("amplitude", 1e-4, nodata=(0.0,)))
    assert result.report.saturated_pixels == wanted > 50 and plain.report.saturated_pixels is None
    np.testing.assert_array_equal(result.labels, plain.labels)
    assert (result.labels[40:][stored[0, 40:] == 65535] != 255).all()


@pytest.mark.slow
def test_predict_counts_them_in_a_window_and_scene_writes_the_plane(scene, tmp_path):
    stored, wanted = scene
    stored = stored.copy()
    path = write_tif(tmp_path / "scene.tif", stored, descriptions=("VV", "VH"), nodata=0, crs="EPSG:32633", transform=UTM)
    words = ("--unit", "amplitude", "--scale", "1e-4", "--saturation", "65535")
    done = command.run("predict", path, DEMO, "-o", tmp_path / "map.tif", *words, "--window", "40,50,200,210", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["saturated_pixels"] == int((stored[0, 40:240, 50:260] == 65535).sum())
    done = command.run("scene", path, *words, "--validity", tmp_path / "validity.tif")
    assert done.returncode == 0, done.stderr
    assert f"{wanted} pixels at 65535" in done.stdout and "validity.tif" in done.stdout
    with rasterio.open(tmp_path / "validity.tif") as plane:
        codes = plane.read(1)
        assert plane.crs.to_epsg() == 32633 and plane.tags()["HFD_VALIDITY"] == "0 valid, 1 nodata, 2 no signal, 3 saturated"
    want = np.where((stored == 0).any(axis=0), 1, np.where(stored[0] == 65535, 3, 0))
    np.testing.assert_array_equal(codes, want)
    command.failed(command.run("scene", path, *words, "--validity", tmp_path / "validity.tif"), "exists")


def test_no_signal_is_not_nodata_in_the_plane(tmp_path):
    power = np.random.default_rng(0).gamma(4, 0.02, (1, 40, 50)).astype(np.float32)
    power[0, 3], power[0, 5], power[0, 7] = 0, -0.001, np.nan
    path = write_tif(tmp_path / "scene.tif", power)
    done = command.run("scene", path, "--unit", "intensity", "--validity", tmp_path / "v.tif")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "v.tif") as plane:
        codes = plane.read(1)
    assert (codes[[3, 5]] == 2).all() and (codes[7] == 1).all() and (np.delete(codes, [3, 5, 7], axis=0) == 0).all()


def test_a_nodata_value_is_the_stored_number_that_is_nearest_to_it():
    """As for the map: no float32 is 0.1, and those that were written as 0.1 are meant."""
    values = np.full((1, 2, 3), 0.1, np.float32)
    for value, hidden in ((0.1, True), (float(np.float32(0.1)), True), (0.1000001, False), (1e300, False)):
        declared = check_declared(SourceRadiometry("intensity", nodata=(value,), saturation=0.05), values.dtype)
        assert saturated(values, None, declared).any() != hidden
