"""The simulator: the same pixels whatever window holds them, and the statistics it promises."""

import math

import numpy as np
import pytest

from hfd_edge import simulate
from hfd_edge.errors import ArrayError, RadiometryError, SpecError
from hfd_edge.simulate import CLASSES, URBAN, Scene, SceneConfig, product
from hfd_edge.simulate.buildings import Viewing, radar_image, shadow
from hfd_edge.simulate.fields import block_generator, correlated_speckle, gamma_speckle, look_weights

DB = 10 / math.log(10)


def config(**changes):
    return SceneConfig(**{"rows": 700, "cols": 610, "seed": 5, **changes})


@pytest.mark.parametrize("changes", [{}, {"speckle_correlation": 0.4, "border_px": 60},
                                     {"spacing_m": 3.0, "incidence_deg": 25.0}])
def test_a_window_of_a_window_holds_the_same_bits(changes):
    scene = Scene(config(**changes))
    whole = scene.window(0, 0, 700, 610)
    for row, col, rows, cols in ((0, 0, 1, 1), (250, 251, 13, 300), (699, 609, 1, 1), (256, 256, 256, 256), (3, 600, 697, 10)):
        part = scene.window(row, col, rows, cols)
        where = (slice(row, row + rows), slice(col, col + cols))
        assert np.array_equal(part.labels, whole.labels[where])
        assert np.array_equal(part.sar, whole.sar[(slice(None), *where)])
        assert np.array_equal(part.eo, whole.eo[(slice(None), *where)])


def test_pixels_depend_on_the_seed_and_not_on_the_size_of_the_scene():
    first = Scene(config()).window(100, 100, 300, 300)
    assert np.array_equal(first.sar, Scene(config()).window(100, 100, 300, 300).sar)
    assert np.array_equal(first.sar, Scene(config(rows=10 ** 6, cols=10 ** 6)).window(100, 100, 300, 300).sar)
    other = Scene(config(seed=6)).window(100, 100, 300, 300)
    assert not np.array_equal(first.labels, other.labels)
    assert abs(np.corrcoef(first.sar.ravel(), other.sar.ravel())[0, 1]) < 0.2


def test_a_window_far_out_in_a_huge_scene_costs_no_more_memory_than_a_near_one():
    tracemalloc = pytest.importorskip("tracemalloc")
    scene = Scene(config(rows=10 ** 6, cols=10 ** 6))
    peaks = []
    for corner in (0, 900_000):
        tracemalloc.start()
        scene.window(corner, corner, 256, 512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] < 64e6


def test_strips_cover_the_scene_in_order():
    scene = Scene(config())
    strips = list(scene.strips(300))
    assert [strip.row for strip in strips] == [0, 300, 600]
    assert np.array_equal(np.concatenate([s.sar for s in strips], axis=1), scene.window(0, 0, 700, 610).sar)


@pytest.mark.parametrize("looks", [0.8, 1, 4.4, 10])
def test_speckle_has_mean_one_its_looks_and_the_bias_of_its_logarithm(looks):
    speckle = np.concatenate([gamma_speckle(block_generator(1, 2, 0, col), looks) for col in range(4)]).astype(np.float64)
    n = speckle.size
    assert abs(speckle.mean() - 1) < 5 / math.sqrt(looks * n)
    assert abs(speckle.mean() ** 2 / speckle.var() / looks - 1) < 5 * math.sqrt(2 * (1 + 1 / looks) / n)
    known = {1: (-2.507, 5.570), 4.4: (-0.512, 2.193), 10: (-0.221, 1.408)}     # digamma and trigamma of L, in dB
    if looks in known:
        db = DB * np.log(speckle)
        assert (db.mean(), db.std()) == pytest.approx(known[looks], abs=0.03)


@pytest.mark.parametrize("looks", [1, 4.4])
def test_correlated_speckle_keeps_mean_and_looks_and_has_the_correlation_asked_for(looks):
    pixels = np.arange(600)
    speckle = correlated_speckle(3, 1, pixels, pixels, looks, 0.4).astype(np.float64)
    assert speckle.mean() == pytest.approx(1, abs=0.01)
    assert speckle.mean() ** 2 / speckle.var() == pytest.approx(looks, rel=0.04)
    for here, there in ((speckle[:, 1:], speckle[:, :-1]), (speckle[1:], speckle[:-1])):
        assert np.corrcoef(here.ravel(), there.ravel())[0, 1] == pytest.approx(0.4, abs=0.02)


def test_look_weights_have_exactly_the_looks_asked_for():
    for looks in (1, 1.01, 2.5, 4.4, 9.99, 10):
        weights = np.array(look_weights(looks))
        assert weights.sum() ** 2 / (weights ** 2).sum() == pytest.approx(looks)
        assert weights.min() >= 0 and weights.max() == 1


def test_classes_have_their_backscatter_and_texture():
    scene = Scene(config(rows=2048, cols=1024, region_px=64, looks=10))
    window = scene.window(0, 0, 2048, 1024)
    noise = 10 ** -2.4
    for index, ground in enumerate(CLASSES):
        pixels = window.sar[:, window.labels == index].astype(np.float64)
        assert pixels.shape[1] > 50_000
        if index == URBAN:                              # streets, roofs and walls together
            assert 10 * np.log10(pixels.mean(1)) == pytest.approx((-4, -11), abs=1.0)
            continue
        tolerance = 0.5 if index < URBAN else 1         # layover of towns spills over a few neighbours
        assert 10 * np.log10(np.median(pixels, axis=1)) == pytest.approx(
            10 * np.log10(10 ** (np.array(ground.sigma0_db) / 10) + noise), abs=tolerance)
    forest = np.log(window.sar[0][window.labels == simulate.FOREST].astype(np.float64))
    assert np.median(np.abs(forest - np.median(forest))) * 1.4826 == pytest.approx(math.sqrt(1 / 10 + 1 / 12), rel=0.1)


def test_optical_pixels_and_labels_are_aligned():
    window = Scene(config()).window(0, 0, 700, 610)
    assert window.eo.shape == (4, 700, 610) and window.eo.dtype == np.float32
    water, crop = (window.eo[3][window.labels == index] for index in (simulate.WATER, simulate.CROPLAND))
    assert water.max() < 0.08 and crop.min() > 0.18 and crop.mean() == pytest.approx(0.38, rel=0.01)
    assert Scene(config()).window(0, 0, 10, 10, eo=False).eo is None


def test_one_building_casts_a_shadow_lies_over_and_reflects_at_its_foot():
    viewing = Viewing(incidence_deg=45.0, spacing_m=10.0)               # 20 m are two pixels of layover and two of shadow
    height = np.zeros((3, 20), np.float32)
    height[1, 10:14] = 20.0
    dark = shadow(height, viewing)
    assert not dark[[0, 2]].any() and np.flatnonzero(dark[1]).tolist() == [14]      # column 15 is met at grazing height exactly
    power = np.full((1, 3, 20), 0.1, np.float32)
    power[0, 1, 10:14] = 1.0
    line = radar_image(power, height, (0.05,), viewing)[0]
    assert np.array_equal(line[[0, 2]], power[0][[0, 2]])
    expected = np.full(20, 0.1)
    expected[8:10] += 1.0                                               # the roof over the ground before it
    expected[10:14] = (1.0 + 20 * 0.05, 1.0, 0, 0)                      # wall foot; the roof again; nothing where it stood
    expected[14] = 0                                                    # shadow
    assert line[1] == pytest.approx(expected, abs=1e-6)


def test_layover_between_pixels_keeps_the_power():
    viewing = Viewing(incidence_deg=38.0, spacing_m=10.0)
    height = np.zeros((1, 40), np.float32)
    height[0, 20] = 17.0
    power = np.zeros((1, 1, 40), np.float32)
    power[0, 0, 20] = 3.0
    image = radar_image(power, height, (0.0,), viewing)[0, 0]
    moved = 20 - 1.7 / math.tan(math.radians(38))
    assert image.sum() == pytest.approx(3.0) and (image * np.arange(40)).sum() / 3 == pytest.approx(moved, abs=1e-4)


def test_products_say_the_same_in_four_forms():
    window = Scene(config(looks=1, border_px=80)).window(0, 0, 700, 610, eo=False)
    valid = window.valid
    assert 0.8 < valid.mean() < 0.95 and not valid[0, 0] and valid[-1, 0] and not valid[-1, -1]
    linear, db, amplitude, single = (product(window, kind) for kind in ("intensity", "db", "amplitude", "complex"))
    assert (linear.dtype, db.dtype, amplitude.dtype, single.dtype) == (np.float32, np.float32, np.uint16, np.complex64)
    assert np.isnan(linear[:, ~valid]).all() and np.isnan(db[:, ~valid]).all()
    assert (amplitude[:, ~valid] == 0).all() and (single[:, ~valid] == 0).all()
    linear, db, amplitude, single = (values[:, valid] for values in (linear, db, amplitude, single))
    assert np.array_equal(linear, window.sar[:, valid])
    assert np.abs(db - 10 * np.log10(linear.astype(np.float64))).max() < 1e-4
    assert np.abs(np.abs(single) ** 2 / linear - 1).max() < 1e-5
    assert amplitude.min() >= 1
    unclipped = amplitude > 1
    assert np.abs(amplitude[unclipped] - np.sqrt(linear[unclipped] / 1e-6)).max() < 0.51          # rounded to whole numbers
    assert abs(np.exp(1j * np.angle(single)).mean()) < 0.01                                       # phase says nothing


def test_products_of_a_part_are_parts_of_the_product():
    scene = Scene(config(looks=1, border_px=80))
    whole, part = scene.window(0, 0, 700, 610, eo=False), scene.window(37, 41, 300, 200, eo=False)
    for kind in simulate.PRODUCT_NODATA:
        assert np.array_equal(product(part, kind), product(whole, kind)[:, 37:337, 41:241], equal_nan=True)


@pytest.mark.parametrize("bad", [{"rows": 0}, {"seed": -1}, {"looks": 0}, {"looks": math.nan}, {"speckle_correlation": 0.6},
                                 {"border_px": 305}, {"looks": 0.5, "speckle_correlation": 0.2}, {"incidence_deg": 90}])
def test_a_scene_that_cannot_be_is_refused(bad):
    with pytest.raises(SpecError, match=next(iter(bad)) if "rows" not in bad else "scene of 0"):
        config(**bad)


def test_windows_outside_and_products_of_the_wrong_kind_are_refused():
    scene = Scene(config())
    for window in ((-1, 0, 5, 5), (0, 0, 0, 5), (690, 0, 11, 5), (0, 606, 5, 5)):
        with pytest.raises(ArrayError, match="inside the scene of 700 x 610"):
            scene.window(*window)
    with pytest.raises(RadiometryError, match="looks=1"):
        product(scene.window(0, 0, 5, 5), "complex")
    with pytest.raises(RadiometryError, match="'dn' is not a product"):
        product(scene.window(0, 0, 5, 5), "dn")


def test_scenes_of_other_seeds_lie_in_other_places(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from hfd_edge.cli.simulate import _place, write_scene
    assert len({_place(seed) for seed in range(300)}) == 300 and _place(0) == ("EPSG:32633", 500_000.0, 5_300_000.0)
    places = []
    for seed in (6, 7, 67):
        (tmp_path / str(seed)).mkdir()
        write_scene(tmp_path / str(seed), SceneConfig(32, 32, seed=seed))
        for name in ("scene", "truth", "eo"):
            with rasterio.open(tmp_path / str(seed) / f"{name}.tif") as file:
                places.append((file.crs.to_epsg(), file.transform.c, file.transform.f))
    assert len(set(places)) == 3 and places[:3] == [(32639, 500_000.0, 5_300_000.0)] * 3 and places[-1] == (32640, 500_000.0, 4_300_000.0)
