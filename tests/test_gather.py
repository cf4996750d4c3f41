"""gather against its twin in reference.py, and the properties that the twin cannot show."""

from __future__ import annotations

import ctypes
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Place, Radiometry

from hfd_edge import _native
from hfd_edge.errors import ArrayError
from hfd_edge.tiles import reflect101

DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]
UNITS = ["intensity", "amplitude", "db", "complex", "dn"]
DB_TOLERANCE = 1e-4          # dB: the contract; a twentieth of the smallest step a calibrated product can justify
LINEAR_TOLERANCE = 1e-5      # relative, 4e-5 dB: 10^(v/10) at +-100 dB from a float32 product v * log2(10) / 10


def make(radiometry: Radiometry) -> _native.Gather:
    unit, model_unit, mean, gain, scale, offset, nodata, floor, low, high = astuple(radiometry)
    return _native.Gather(unit, model_unit, scale, offset, nodata, floor, low, high, mean, gain)


def run(values, place: Place, radiometry: Radiometry, valid=None, threads: int = 2):
    tile = np.full((len(values), *place.size), 777, np.float32)
    status = np.full(place.size, 99, np.uint8)
    make(radiometry).run(values, place.window, place.scene, place.origin, tile, status, valid, threads)
    return tile, status


def whole(values, origin=(0, 0), size=None) -> Place:
    return Place((0, 0), values.shape[1:], origin, size or values.shape[1:])


def pixels(rng: np.random.Generator, shape, dtype, unit: str) -> np.ndarray:
    """Plausible pixels with zeros, negatives, repeats (for nodata) and, for floats, NaN and infinity."""
    if np.issubdtype(dtype, np.integer):
        return rng.integers(max(np.iinfo(dtype).min, -40), min(np.iinfo(dtype).max, 90), shape).astype(dtype)
    values = rng.choice([0.0, 7.0, -9999.0, 0.3], shape) if rng.random() < 0.3 else rng.normal(-15, 8, shape)
    values = values if unit in ("db", "dn") else np.abs(values) ** 3 * rng.choice([1e-6, 1, -0.1], shape)
    values[rng.random(shape) < 0.03] = np.nan
    values[rng.random(shape) < 0.03] = np.inf
    if unit == "complex":
        pairs = np.stack([values, rng.permutation(values.ravel()).reshape(shape)], axis=-1)      # I, Q
        return pairs.astype(dtype).view(np.complex64 if dtype is np.float32 else np.complex128)[..., 0]
    return values.astype(dtype)


def restride(values: np.ndarray, how: str) -> np.ndarray:
    """The same numbers behind other strides."""
    if how == "reversed":
        return np.ascontiguousarray(values[:, ::-1, ::-1])[:, ::-1, ::-1]
    if how == "interleaved":
        return np.ascontiguousarray(values.transpose(1, 2, 0)).transpose(2, 0, 1)
    if how == "every other":
        return np.repeat(np.repeat(values, 2, axis=1), 2, axis=2)[:, ::2, ::2]
    if how == "unaligned":
        raw = np.empty(values.nbytes + 1, np.uint8)[1:].view(values.dtype).reshape(values.shape)
        raw[...] = values
        return raw
    return values


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scene = (draw(st.integers(1, 20)), draw(st.integers(1, 40)))
    unit = draw(st.sampled_from(UNITS))
    model_unit = unit if unit == "dn" else draw(st.sampled_from([u for u in ("intensity", "amplitude", "db")]))
    dtype = draw(st.sampled_from(DTYPES if unit != "complex" else [np.float32, np.float64]))
    bands = draw(st.integers(1, 3))
    values = restride(pixels(rng, (bands, *scene), dtype, unit),
                      draw(st.sampled_from(["plain", "reversed", "interleaved", "every other", "unaligned"])))
    wide = (rng.random((scene[0], 2 * scene[1])) < 0.8).astype(np.uint8)
    valid = draw(st.sampled_from([None, rng.random(scene) < 0.8, wide[:, ::2]]))
    place = Place((0, 0), scene, (draw(st.integers(-50, 50)), draw(st.integers(-50, 50))),
                  (draw(st.integers(1, 30)), draw(st.integers(1, 70))))
    radiometry = Radiometry(
        unit, model_unit, mean=[0.0] * bands, gain=[1.0] * bands,
        scale=draw(st.sampled_from([1.0, 0.5, 0.3])), offset=0.0 if unit == "complex" else draw(st.sampled_from([0.0, 2.0])),
        nodata=draw(st.sampled_from([[], [0.0], [float("nan"), -9999.0, 7.0], [0.25, 1e300]])),
        floor=-35.0 if model_unit == "db" else draw(st.sampled_from([float("nan"), 0.125])),
        **draw(st.sampled_from([{}, {"clip_low": [-30.0] * bands, "clip_high": [5.0] * bands}])))
    return values, place, radiometry, valid


def check_against_the_reference(case):
    values, place, radiometry, valid = case
    tile, status = run(values, place, radiometry, valid)
    expected, expected_status = reference.gather(values, place, radiometry, valid)
    np.testing.assert_array_equal(status, expected_status)
    if radiometry.model_unit == "db" and radiometry.unit != "db":
        np.testing.assert_allclose(tile, expected, rtol=0, atol=DB_TOLERANCE)
    else:
        np.testing.assert_allclose(tile, expected, rtol=LINEAR_TOLERANCE, atol=1e-35)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_gather_matches_the_reference(case):
    check_against_the_reference(case)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_gather_matches_the_reference_in_five_thousand_cases(case):
    check_against_the_reference(case)


def run_bytes(values, place: Place, radiometry: Radiometry, by: tuple[float, int], valid=None, threads: int = 2):
    cells = np.full((place.size[0] // 2, place.size[1] // 2, 4 * len(values)), 99, np.uint8)
    status = np.full(place.size, 99, np.uint8)
    make(radiometry).run_bytes(values, place.window, place.scene, place.origin, cells, status, valid, *by, threads)
    return cells, status


@settings(max_examples=200, deadline=None)
@given(cases(), st.floats(1e-3, 3.0), st.integers(0, 255), st.sampled_from([1, 2, 7]))
def test_bytes_are_those_of_the_float_tile(case, scale, zero, threads):
    values, place, radiometry, valid = case
    place = replace(place, size=tuple(side + side % 2 for side in place.size))
    tile, status = run(values, place, radiometry, valid)
    cells, same = run_bytes(values, place, radiometry, (scale, zero), valid, threads)
    np.testing.assert_array_equal(cells, reference.to_bytes(tile, scale, zero))
    np.testing.assert_array_equal(same, status)


@pytest.mark.parametrize("scale", [np.float32(0.03125205636024475), np.float32(0.1), np.float32(7e-3), np.float32(1.2e-38), np.float32(1e36)])
def test_bytes_are_right_at_every_number_beside_a_half(scale):
    halves = (np.arange(-140, 150) + 0.5).astype(np.float32) * scale
    near = np.concatenate([(halves.view(np.int32) + step).view(np.float32) for step in range(-40, 41)])
    values = near[:len(near) // 4 * 4].reshape(1, 2, -1)
    cells, _ = run_bytes(values, whole(values), Radiometry("dn", "dn", [0.0], [1.0]), (float(scale), 100))
    np.testing.assert_array_equal(cells, reference.to_bytes(values, float(scale), 100))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_bytes_round_halves_to_even_and_stay_within_their_range(bands):
    numbers = np.concatenate([np.arange(-298, 298) / 2, [1e30, -1e30, np.nan, np.inf]]).astype(np.float32)
    values = np.stack([np.roll(numbers, band).reshape(4, -1) for band in range(bands)])
    cells, status = run_bytes(values, whole(values), Radiometry("dn", "dn", [0.0] * bands, [1.0] * bands), (1.0, 101))
    np.testing.assert_array_equal(cells, reference.to_bytes(np.where(status == 1, 0, values), 1.0, 101))
    assert cells.min() == 0 and cells.max() == 255 and (status == 1).any()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_any_number_of_threads_writes_the_same_bytes(case):
    values, place, radiometry, valid = case
    first, *others = [run(values, place, radiometry, valid, threads) for threads in (1, 2, 7)]
    for tile, status in others:
        assert tile.tobytes() == first[0].tobytes() and status.tobytes() == first[1].tobytes()


@pytest.mark.parametrize("nodata", [0.0, 0.5])
@pytest.mark.parametrize("gain", [0.25, 2e37])
@pytest.mark.parametrize("unit, dtype", [("intensity", np.float32), ("intensity", np.float64), ("amplitude", np.uint16), ("complex", np.complex64)])
def test_a_pixel_beside_others_is_what_it_is_alone(unit, dtype, gain, nodata):
    """Neighbours of usual power take a way of their own together; a column that is a tile takes the general one."""
    rng = np.random.default_rng(5)
    values = rng.gamma(4, 0.5, (2, 4, 301))
    odd = rng.random(values.shape) < 0.01
    values[odd] = rng.choice([0, 0.5, 3] if np.dtype(dtype).kind == "u" else [0, 0.5, -1, 1e-40, 1.2e-38, 3e38, np.inf, np.nan], odd.sum())
    values = values.astype(dtype)
    radiometry = Radiometry(unit, "db", [-12.0, 3.0], [gain] * 2, 0.5, 0.0, [nodata], -35.0)
    tile, status = run(values, whole(values), radiometry)
    columns = [run(values, whole(values, (0, col), (4, 1)), radiometry) for col in range(values.shape[2])]
    assert tile.tobytes() == np.concatenate([column for column, _ in columns], axis=2).tobytes()
    assert status.tobytes() == np.concatenate([column for _, column in columns], axis=1).tobytes()
    assert status.any() and not status.all()


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(-9, 9), st.integers(-9, 9))
def test_a_pixel_does_not_depend_on_where_its_tile_begins(case, down, right):
    values, place, radiometry, valid = case
    shifted = replace(place, origin=(place.origin[0] - abs(down), place.origin[1] - abs(right)),
                      size=(place.size[0] + abs(down), place.size[1] + abs(right)))
    tile, status = run(values, place, radiometry, valid)
    more, more_status = run(values, shifted, radiometry, valid)
    assert tile.tobytes() == more[:, abs(down):, abs(right):].tobytes()
    assert status.tobytes() == more_status[abs(down):, abs(right):].tobytes()


def test_values_of_the_models_own_unit_pass_bit_for_bit():
    bits = np.random.default_rng(0).integers(0, 2**32, (1, 200, 300), dtype=np.uint64).astype(np.uint32)
    bits[0, :2, :3] = [[0x80000000, 1, 0x007FFFFF], [0, 0x7F7FFFFF, 0x80000001]]       # -0, denormals, the largest
    values = bits.view(np.float32)
    for unit in ("intensity", "amplitude", "db", "dn"):
        tile, status = run(values, whole(values), Radiometry(unit, unit, [0.0], [1.0]))
        finite = np.isfinite(values)
        np.testing.assert_array_equal(tile.view(np.uint32)[finite], bits[finite])
        assert not tile[~finite].any() and (status[~finite[0]] == reference.NODATA).all()


def test_decibels_are_exact_enough_over_the_whole_range_of_float32():
    bits = np.linspace(1, 0x7F7FFFFF, 2_000_003).astype(np.uint32)                     # every exponent, denormals included
    values = bits.view(np.float32).reshape(1, 1, -1)
    tile, _ = run(values, whole(values), Radiometry("intensity", "db", [0.0], [1.0], floor=-1000.0))
    assert np.abs(tile - 10 * np.log10(values.astype(np.float64))).max() <= DB_TOLERANCE


def test_power_of_decibels_is_exact_enough_and_dies_out_to_zero():
    values = np.linspace(-460, 384, 1_000_001, dtype=np.float32).reshape(1, 1, -1)
    tile, status = run(values, whole(values), Radiometry("db", "intensity", [0.0], [1.0]))
    expected = 10 ** (values.astype(np.float64) / 10)
    np.testing.assert_allclose(tile, expected, rtol=LINEAR_TOLERANCE, atol=1.5e-45)
    assert ((tile[0] == 0) == (status == reference.NO_SIGNAL)).all() and tile[0, 0, 0] == 0


def test_normalisation_is_the_plain_float32_formula():
    values = np.random.default_rng(1).normal(-15, 10, (2, 31, 57)).astype(np.float32)
    low, high, mean, gain = (np.float32(v).reshape(2, 1, 1) for v in ([-25, -30], [0, -5], [-11.3, -18.7], [0.21, 0.19]))
    radiometry = Radiometry("db", "db", [-11.3, -18.7], [0.21, 0.19], floor=-22.0, clip_low=[-25.0, -30.0], clip_high=[0.0, -5.0])
    tile, _ = run(values, whole(values), radiometry)
    np.testing.assert_array_equal(tile, (np.clip(np.maximum(values, np.float32(-22)), low, high) - mean) * gain)


def test_power_that_is_not_positive_lands_on_the_floor_and_is_not_nodata():
    values = np.float32([[[0.0, -0.5, 1e-9, 1.0]]])
    tile, status = run(values, whole(values), Radiometry("intensity", "db", [0.0], [1.0], floor=-35.0))
    assert tile.tolist() == [[[-35.0, -35.0, -35.0, 0.0]]] and status.tolist() == [[2, 2, 0, 0]]


def test_nodata_in_one_band_is_nodata_in_all_and_bleeds_nowhere():
    values = np.ones((3, 5, 5), np.float32)
    values[1, 2, 2], values[2, 4, 4], values[0, 0, 0] = -9999, np.nan, 1e38
    radiometry = Radiometry("intensity", "intensity", [0.5] * 3, [100.0] * 3, nodata=[-9999.0])
    tile, status = run(values, whole(values, (-1, -1), (7, 7)), radiometry)
    holes = {(3, 3), (5, 5), (1, 1)}              # the last overflows float32 when normalised
    assert {tuple(p) for p in np.argwhere(status == 1).tolist()} == holes
    assert all(not tile[:, r, c].any() for r, c in holes)
    assert (np.delete(tile[0].ravel(), [r * 7 + c for r, c in holes]) == 50).all()


def test_part_of_the_scene_is_enough_if_the_tile_needs_no_more():
    values = np.random.default_rng(2).gamma(4, 0.1, (2, 60, 50)).astype(np.float32)
    radiometry = Radiometry("intensity", "db", [-12.0, -19.0], [0.2, 0.2], floor=-35.0)
    place = whole(values, (-8, 30), (40, 40))
    expected = run(values, place, radiometry)
    got = run(values[:, :32, 10:], replace(place, window=(0, 10)), radiometry)
    assert [g.tobytes() for g in got] == [e.tobytes() for e in expected]
    with pytest.raises(ArrayError, match=r"values hold scene rows 1 to 31 but the tile at -8 needs 0 to 31"):
        run(values[:, 1:32], replace(place, window=(1, 0)), radiometry)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_reflection_is_the_grids_and_never_repeats_the_edge(size):
    values = np.arange(1, size + 1, dtype=np.float32).reshape(1, 1, size)
    tile, _ = run(values, whole(values, (0, -20), (1, 50)), Radiometry("dn", "dn", [0.0], [1.0]))
    walked = [reference.reflect101(i, size) for i in range(-20, 30)]
    assert walked == [reflect101(i, size) for i in range(-20, 30)]
    assert (tile[0, 0] - 1).tolist() == walked
    symmetric = np.pad(values[0, 0], (20, 30 - size), mode="symmetric")                # negative control: the edge repeated
    assert (symmetric.tolist() == tile[0, 0].tolist()) == (size == 1)


def test_one_gather_serves_many_threads_at_once():
    values = np.random.default_rng(3).gamma(4, 0.1, (2, 90, 80)).astype(np.float32)
    radiometry = Radiometry("intensity", "db", [0.0, 0.0], [1.0, 1.0], floor=-35.0)
    expected, gather = run(values, whole(values), radiometry)[0].tobytes(), make(radiometry)

    def once(_):
        tile, status = np.empty((2, 90, 80), np.float32), np.empty((90, 80), np.uint8)
        gather.run(values, (0, 0), (90, 80), (0, 0), tile, status, None, 2)
        return tile.tobytes() == expected

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(once, range(64)))


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="fenv_t is laid out differently")
@pytest.mark.parametrize("mxcsr", [0x9FC0, 0x5F80, 0x3F80], ids=["flush to zero", "round up", "round down"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_floating_point_mode_changes_nothing_and_comes_back(mxcsr, threads):
    values = np.random.default_rng(4).gamma(4, 1e-39, (1, 64, 64)).astype(np.float32)  # denormal powers
    radiometry = Radiometry("intensity", "db", [-12.3], [0.217], floor=-1000.0, scale=0.7)
    expected = run(values, whole(values), radiometry)[0].tobytes()
    tile, status, gather = np.empty((1, 64, 64), np.float32), np.empty((64, 64), np.uint8), make(radiometry)
    libm = ctypes.CDLL("libm.so.6")
    before, now, after = ((ctypes.c_uint32 * 8)() for _ in range(3))
    libm.fegetenv(before)
    now[:7], now[7] = before[:7], mxcsr
    libm.fesetenv(now)
    gather.run(values, (0, 0), (64, 64), (0, 0), tile, status, None, threads)
    libm.fegetenv(after)
    libm.fesetenv(before)
    assert tile.tobytes() == expected and after[7] & ~0x3F == mxcsr & ~0x3F
