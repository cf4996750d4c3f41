"""One geometry for both sensors; speckle is gamma in linear power whatever the unit; nodata touches what it should."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st  # noqa: E402

from hfd_edge.spec import Unit  # noqa: E402
from training.augment import (AugmentOptions, check_augment, cut, draw_geometry, nodata_shape, speckled, without)  # noqa: E402
from training.pairs import FLIPS, DataError, Pair, SetInfo, pair_of  # noqa: E402

INFO = SetInfo("coordinates", ("row", "col"), ("row", "col"), tuple("abcdefgh"), ((0, 0, 0),) * 8, Unit.INTENSITY, "sigma0",
               None, None, FLIPS)


def coordinates(rows: int, cols: int) -> Pair:
    """Every plane says where it is: SAR and EO hold row + 1 and col + 1, the label a hash of both; some are invalid."""
    row, col = np.mgrid[1:rows + 1, 1:cols + 1].astype(np.float32)
    valid = (row * 7 + col * 3) % 11 != 0
    labels = np.where(valid, (row * 5 + col) % 8, 255).astype(np.uint8)
    return pair_of("coordinates", np.stack([row, col]), np.stack([row, col]), labels, valid)


options = st.builds(AugmentOptions, flips=st.sets(st.sampled_from(FLIPS)).map(tuple), shift_px=st.integers(0, 3))


@settings(max_examples=200, deadline=None)
@given(st.integers(5, 60), st.integers(5, 60), st.integers(4, 48), options, st.sets(st.sampled_from(FLIPS)),
       st.integers(0, 2 ** 32))
def test_one_geometry_moves_sar_labels_validity_and_up_to_the_shift_eo(rows, cols, crop, augment, allowed, seed):
    pair, info = coordinates(rows, cols), replace(INFO, flips=tuple(allowed))
    geometry = draw_geometry(pair, crop, augment, info, np.random.default_rng(seed))
    item = cut(pair, geometry)
    assert set(geometry.flips) <= set(augment.flips) & allowed and max(map(abs, geometry.shift)) <= augment.shift_px
    assert item.sar.shape == (2, crop, crop) and item.labels.shape == item.valid.shape == item.eo_seen.shape == (crop, crop)
    row, col = item.sar.astype(int)
    expected = coordinates(rows, cols)
    here = row[item.valid] - 1, col[item.valid] - 1
    np.testing.assert_array_equal(item.labels[item.valid], expected.labels[here])
    assert expected.valid[here].all() and (item.labels[~item.valid] == 255).all() and not item.sar[:, ~item.valid].any()
    inside = np.s_[max(geometry.row, 0):geometry.row + crop, max(geometry.col, 0):geometry.col + crop]
    assert item.valid.sum() == expected.valid[inside].sum()
    moved = item.eo[:, item.valid].astype(int)
    np.testing.assert_array_equal(moved[0], np.clip(row[item.valid] + geometry.shift[0], 1, rows))
    np.testing.assert_array_equal(moved[1], np.clip(col[item.valid] + geometry.shift[1], 1, cols))
    assert item.eo_seen[item.valid].all() and item.eo_seen.sum() == min(crop, rows) * min(crop, cols)


@pytest.mark.parametrize("flip,axis", [("rows", 0), ("cols", 1)])
def test_a_flip_that_the_set_forbids_never_happens(flip, axis):
    pair, info = coordinates(20, 20), replace(INFO, flips=tuple(f for f in FLIPS[:2] if f != flip))
    for seed in range(50):
        item = cut(pair, draw_geometry(pair, 12, AugmentOptions(), info, np.random.default_rng(seed)))
        ahead = np.diff(np.where(item.valid, item.sar[axis], np.nan), axis=axis)
        assert (ahead[np.isfinite(ahead)] > 0).all()


def test_all_three_flips_happen_where_they_are_allowed():
    pair, seen = coordinates(20, 20), set()
    for seed in range(100):
        seen.add(draw_geometry(pair, 12, AugmentOptions(), INFO, np.random.default_rng(seed)).flips)
    assert len(seen) == 8


def test_crops_without_labels_are_drawn_again():
    pair = coordinates(256, 256)
    pair.labels[:, 64:] = 255
    crops = [cut(pair, draw_geometry(pair, 32, AugmentOptions(), INFO, np.random.default_rng(seed))) for seed in range(200)]
    assert np.mean([(crop.labels != 255).any() for crop in crops]) > 0.6    # one draw alone: 0.28


@pytest.mark.parametrize("looks", [1.0, 4.4, 30.0])
def test_speckle_is_a_gamma_of_mean_one_in_power_and_the_same_whatever_the_unit(looks):
    power = np.full((2, 300, 300), 0.04, np.float32)
    given_power = {Unit.INTENSITY: power, Unit.AMPLITUDE: np.sqrt(power), Unit.DB: 10 * np.log10(power)}
    back = {Unit.INTENSITY: lambda v: v, Unit.AMPLITUDE: np.square, Unit.DB: lambda v: 10 ** (v / 10)}
    results = {}
    for unit, values in given_power.items():
        noisy = speckled(values, unit, looks, np.random.default_rng(7))
        assert noisy.dtype == np.float32
        results[unit] = back[unit](noisy.astype(np.float64))
    ratio = results[Unit.INTENSITY] / 0.04
    assert ratio.mean() == pytest.approx(1, abs=4 / np.sqrt(looks * ratio.size))
    assert ratio.var() * looks == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(ratio[0].ravel(), ratio[1].ravel())[0, 1]) < 0.02   # bands are independent
    for unit in (Unit.AMPLITUDE, Unit.DB):
        np.testing.assert_allclose(results[unit], results[Unit.INTENSITY], rtol=2e-5)


def test_speckle_on_digital_numbers_is_refused():
    info = replace(INFO, sar_unit=Unit.DN, quantity="dn")
    with pytest.raises(DataError, match="linear power"):
        check_augment(AugmentOptions(speckle_looks=4.0), info)
    with pytest.raises(DataError, match="linear power"):
        speckled(np.ones((1, 4, 4), np.float32), Unit.DN, 4.0, np.random.default_rng(0))
    check_augment(AugmentOptions(), info)


def test_a_hole_takes_sar_and_labels_away_and_leaves_eo():
    pair = coordinates(32, 32)
    item = cut(pair, draw_geometry(pair, 32, AugmentOptions(flips=()), INFO, np.random.default_rng(0)))
    hole = nodata_shape(32, np.random.default_rng(1))
    less = without(item, hole)
    assert hole.any() and not less.valid[hole].any() and not less.sar[:, hole].any() and (less.labels[hole] == 255).all()
    np.testing.assert_array_equal(less.valid[~hole], item.valid[~hole])
    np.testing.assert_array_equal(less.sar[:, ~hole], item.sar[:, ~hole])
    np.testing.assert_array_equal(less.eo, item.eo)


def test_nodata_shapes_leave_most_of_a_crop_and_come_as_borders_and_as_holes():
    shapes = [nodata_shape(64, np.random.default_rng(seed)) for seed in range(400)]
    shares = np.array([shape.mean() for shape in shapes])
    borders = np.array([shape[0].any() or shape[-1].any() or shape[:, 0].any() or shape[:, -1].any() for shape in shapes])
    assert shares.max() < 0.7 and 0.03 < shares.mean() < 0.4 and 0.5 < borders.mean() < 0.95
    edge = [np.count_nonzero(shape[1:] != shape[:-1]) + np.count_nonzero(shape[:, 1:] != shape[:, :-1]) for shape in shapes]
    assert np.mean(np.array(edge) > 0) > 0.9                                  # nearly all have a border inside the crop


@pytest.mark.parametrize("change", [{"flips": ("up",)}, {"speckle_looks": 0.0}, {"shift_px": 4}, {"shift_px": -1},
                                    {"drop_eo": 1.5}, {"nodata_wedge": -0.1}])
def test_options_out_of_range_are_refused_by_name(change):
    with pytest.raises(DataError, match=next(iter(change))):
        AugmentOptions(**change)
