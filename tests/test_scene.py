"""The scene pass counts whole numbers, so nothing but the scene changes them; the looks it finds are the scene's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

import hfd_edge
from hfd_edge import _native, speckle
from hfd_edge.errors import ArrayError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.scene import HALO_PX, SceneCounts, measure_array, measure_scene
from hfd_edge.scene.strips import IntensitySource, strips_of
from hfd_edge.simulate import CLASSES, Scene, SceneConfig
from hfd_edge.simulate.fields import block_generator, correlated_speckle, gamma_speckle
from hfd_edge.source import ArraySource
from hfd_edge.speckle.enl import LooksCounts, enl_of
from tests import command
from tests.rasters import UTM, write_tif
from tests.reference_speckle import enl_mode, enl_of_pairs, enl_pairs, is_valid, local_enl


def mosaic(looks: float, correlation: float, side: int = 768) -> np.ndarray:
    """The simulator's ground and speckle in VV without texture: class means times speckle of known looks."""
    labels = Scene(SceneConfig(side, side, seed=3, region_px=96)).window(0, 0, side, side, eo=False).labels
    image = np.float32([10 ** (c.sigma0_db[0] / 10) for c in CLASSES])[labels]
    for row in range(0, side, 256):
        for col in range(0, side, 256):
            at = np.arange(256)
            noise = (correlated_speckle(3, 7, at + row, at + col, looks, correlation) if correlation
                     else gamma_speckle(block_generator(3, 7, row // 256, col // 256), looks))
            image[row:row + 256, col:col + 256] *= noise
    return image


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.45])
@pytest.mark.parametrize("looks", [1, 3, 4.4, 10])
def test_the_looks_of_a_simulated_scene_are_found_to_ten_percent(looks, correlation):
    assert abs(speckle.estimate_enl(mosaic(looks, correlation)) / looks - 1) < 0.1


@pytest.mark.parametrize("seed, region_px", [(3, 48), (7, 64)])
@pytest.mark.parametrize("correlation", [0.0, 0.45])
@pytest.mark.parametrize("looks", [1, 3, 4.4, 10])
def test_the_looks_of_a_textured_scene_are_those_of_its_even_ground_to_ten_percent(looks, correlation, seed, region_px):
    """The simulator as it is: texture in every pixel of four classes of five, towns, class borders."""
    config = SceneConfig(768, 768, seed=seed, looks=looks, region_px=region_px, speckle_correlation=correlation)
    scene = Scene(config).window(0, 0, 768, 768, eo=False).sar
    counts = LooksCounts()
    counts.add(scene, None)
    assert abs(counts.looks / looks - 1) < 0.1
    if looks == 10:
        assert enl_of(counts.windows) / looks < 0.9                 # the mode of all windows is that of the commonest texture


@pytest.mark.parametrize("order", [12.0, 30.0])
def test_texture_of_every_pixel_counts_as_fewer_looks_never_as_more(order):
    """Where no ground is even, nothing in one band tells texture from speckle: docs/speckle.md."""
    rng = np.random.default_rng(1)
    scene = (rng.gamma(4.4, 1 / 4.4, (512, 512)) * rng.gamma(order, 1 / order, (512, 512))).astype(np.float32)
    assert speckle.estimate_enl(scene) == pytest.approx(1 / (1 / 4.4 + 1 / order + 1 / (4.4 * order)), rel=0.03)


def test_local_looks_and_their_mode_are_the_float64_twins():
    image = np.random.default_rng(1).gamma(3, 1 / 3, (60, 70)).astype(np.float32)
    image[20:25, 30] = np.nan
    image[45:, :25] = 0.5
    found = LooksCounts()
    found.add(image[np.newaxis], None)
    counts = found.windows
    local = local_enl(image, is_valid(image))
    want, _ = np.histogram(np.log2(local[np.isfinite(local)]), counts.size, (-2, 10))
    assert counts.sum() == want.sum() and np.abs(np.cumsum(counts) - np.cumsum(want)).max() <= 3     # a few on a bin's edge
    assert enl_of(counts) == pytest.approx(enl_mode(counts), rel=1e-12)


def test_pairs_of_windows_are_the_float64_twins():
    image = np.random.default_rng(5).gamma(3, 1 / 3, (70, 75)).astype(np.float32)
    image[30, 30], image[:25, 60:] = np.nan, 0.5
    counts = LooksCounts()
    counts.add(image[np.newaxis], None)
    with np.errstate(invalid="ignore"):
        want = enl_pairs(np.log2(local_enl(image, is_valid(image))))
    assert counts.pairs.sum() == want.sum() > 500
    for axis in (0, 1):                                             # the few on a bin's edge may fall into the next one
        assert np.abs(np.cumsum(counts.pairs.sum(axis=axis)) - np.cumsum(want.sum(axis=axis))).max() <= 6
    assert counts.looks == pytest.approx(enl_of_pairs(counts.pairs), rel=1e-12) == pytest.approx(enl_of_pairs(want), rel=0.01)
    assert counts.looks != enl_of(counts.windows)


def test_a_table_of_pairs_that_is_none_is_refused():
    plane, table = np.ones((20, 20), np.float32), np.zeros((8, 8), np.int64)
    _native.count_pairs(plane, (0, 20), 20, 15, 0.0, 2.0, table)
    assert table.sum() == table[4, 4] == 5 * 20 + 20 * 5
    for wrong in ((plane, (0, 21), 20, 15, 0.0, 2.0, table), (plane, (-1, 4), 20, 15, 0.0, 2.0, table), (plane, (0, 20), 21, 15, 0.0, 2.0, table),
                  (plane, (0, 20), 20, 0, 0.0, 2.0, table), (plane, (0, 20), 20, 15, 2.0, 0.0, table), (plane, (0, 20), 20, 15, 0.0, 2.0, table[:4]),
                  (plane[0], (0, 20), 1, 15, 0.0, 2.0, table)):
        with pytest.raises(ValueError):
            _native.count_pairs(*wrong)


def test_a_flat_or_tiny_scene_has_no_looks_and_says_so():
    for image in (np.ones((40, 40), np.float32), np.random.default_rng(0).random((14, 80)).astype(np.float32)):
        assert measure_array(image).bands[0].enl is None
        with pytest.raises(ArrayError, match="15 x 15"):
            speckle.estimate_enl(image)


def test_any_tiling_order_and_thread_count_gives_the_same_integers():
    rng = np.random.default_rng(4)
    image = rng.gamma(4.4, 0.02, (2, 301, 402)).astype(np.float32)
    image[0, 50:60, 20:90], image[1, 7] = np.nan, 0
    mask = rng.random((301, 402)) < 0.9995
    whole = measure_array(image, mask)
    for tile, threads in ((47, 1), (128, 2), (500, 7)):
        counts = SceneCounts(("a", "b"), threads)
        corners = [(r, c) for r in range(0, 301, tile) for c in range(0, 402, tile)]
        for row, col in reversed(corners):
            top, left = max(0, row - HALO_PX), max(0, col - HALO_PX)
            window = (slice(top, row + tile + HALO_PX), slice(left, col + tile + HALO_PX))
            counts.add(image[(slice(None), *window)], mask[window], slice(row - top, row - top + tile),
                       slice(col - left, col - left + tile))
        for one, other in zip(counts.result(301, 402).bands, whole.bands):
            assert (one.valid, one.no_signal) == (other.valid, other.no_signal)
            np.testing.assert_array_equal(one.power_histogram, other.power_histogram)
            np.testing.assert_array_equal(one.enl_histogram, other.enl_histogram)
            np.testing.assert_array_equal(one.looks.pairs, other.looks.pairs)
            assert one.looks.pairs.sum() > 1000


def test_percentiles_are_those_of_the_values_to_a_bin():
    values = np.random.default_rng(2).gamma(1, 0.3, (200, 300)).astype(np.float32)
    values[:20] = 0
    band = measure_array(values).bands[0]
    assert band.no_signal == 20 * 300 and band.percentile(5) == 0
    for percent in (12, 50, 98, 100):
        assert band.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=0.01)
    assert band.mean_db() == pytest.approx(10 * np.log10(values.mean()), abs=0.02)
    with pytest.raises(ArrayError, match="101"):
        band.percentile(101)


def test_strips_hold_every_row_once_with_its_halo(monkeypatch):
    monkeypatch.setattr("hfd_edge.scene.strips._MOST_ROWS", 10)
    monkeypatch.setattr("hfd_edge.scene.strips._LEAST_ROWS", 10)
    image = np.random.default_rng(0).gamma(4, 0.02, (1, 57, 40)).astype(np.float32)
    reads = []
    source = ArraySource(image, 1)
    read = source.read
    source.read = lambda row, rows: (reads.append((row, rows)), read(row, rows))[1]
    scene = IntensitySource(source, SourceRadiometry("intensity"))
    reads.clear()
    for halo in (0, 3, 7, 25):
        seen, done = [], 0
        for strip in strips_of(scene, halo):
            assert strip.row == done
            top = max(0, strip.row - halo)
            np.testing.assert_array_equal(strip.values, image[:, top:strip.row + strip.rows + halo])
            seen.append(strip.values[:, strip.first:strip.first + strip.rows])
            done += strip.rows
        np.testing.assert_array_equal(np.concatenate(seen, axis=1), image)
        assert sum(rows for _, rows in reads) == 57
        reads.clear()


def test_one_scene_in_any_unit_has_the_same_looks():
    power = np.random.default_rng(6).gamma(3.0, 0.02, (2, 200, 220)).astype(np.float32)
    found = {}
    for unit, stored in (("intensity", power), ("amplitude", np.sqrt(power)), ("db", 10 * np.log10(power))):
        found[unit] = measure_scene(IntensitySource(ArraySource(stored.astype(np.float32), 2), SourceRadiometry(unit))).enl
    assert found["amplitude"] == pytest.approx(found["intensity"], rel=0.01) == pytest.approx(found["db"], rel=0.01)


def test_digital_numbers_and_wrong_units_are_refused():
    values = np.full((1, 40, 40), 7, np.float32)
    for radiometry, words in ((None, "not known"), (SourceRadiometry("dn"), "no physical meaning|without physical meaning"),
                              (SourceRadiometry("db"), "declare unit=intensity")):
        with pytest.raises(RadiometryError, match=words):
            IntensitySource(ArraySource(values, 1), radiometry)


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    """(path, power): two bands in dB with a hole of nodata -99."""
    power = np.random.default_rng(8).gamma(4.4, 0.02, (2, 150, 170)).astype(np.float32)
    stored = 10 * np.log10(power)
    stored[:, 40:60, 20:50] = -99
    path = tmp_path_factory.mktemp("raster") / "scene.tif"
    return write_tif(path, stored, nodata=-99, crs="EPSG:32633", transform=UTM, descriptions=("VV", "VH")), power


@pytest.mark.slow
def test_scene_prints_and_draws_what_it_found(raster, tmp_path):
    path, power = raster
    picture = tmp_path / "scene.png"
    done = command.run("scene", path, "--unit", "db", "--plot", picture, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["enl"] == pytest.approx(4.4, rel=0.1) and told["nodata_share"] == pytest.approx(600 / (150 * 170))
    assert told["bands"][0]["percentiles"]["98"] == pytest.approx(np.percentile(power[0], 98), rel=0.05)
    assert sum(count for _, count in told["bands"][1]["power_histogram"]) == told["bands"][1]["valid"] == 150 * 170 - 600
    import cv2
    drawn = cv2.imread(str(picture))
    assert drawn is not None and drawn.shape[1] > 1000 and len(np.unique(drawn)) > 20
    text = command.run("scene", path, "--unit", "db").stdout
    assert "looks" in text and "VH" in text and "nodata" in text
    command.failed(command.run("scene", path), "--unit")
    command.failed(command.run("scene", path, "--unit", "db", "--plot", picture), "exists")


def test_scene_names_bands_by_their_own_numbers_and_tells_what_a_run_would(tmp_path):
    stored = 10 * np.log10(np.random.default_rng(9).gamma(4.4, 0.02, (3, 60, 60))).astype(np.float32)
    path = write_tif(tmp_path / "scene.tif", stored, crs="EPSG:32633", transform=Affine(30.0, 0.0, 500_000.0, 0.0, -30.0, 4_600_000.0))
    engine = Path(hfd_edge.__file__).parent / "data" / "demo-light.engine"
    told = json.loads(command.run("scene", path, "--unit", "db", "--bands", "3,2", "--engine", engine, "--json").stdout)
    assert [band["name"] for band in told["bands"]] == ["band 3", "band 2"] and "bands 3 as VV, 2 as VH" in told["read_as"]
    assert any("30 x 30 m and the network was trained on 10 m" in note for note in told["notes"])
    assert not any("m and the network" in note for note in json.loads(command.run("scene", path, "--unit", "db", "--json").stdout)["notes"])


def test_scene_of_nothing_valid_says_so(tmp_path):
    path = write_tif(tmp_path / "empty.tif", np.full((1, 30, 30), np.nan, np.float32))
    done = command.run("scene", path, "--unit", "intensity")
    assert done.returncode == 0, done.stderr
    assert "100.00% nodata" in done.stdout and "no valid pixel" in done.stdout and "cannot be estimated" in done.stdout
