"""Products' tables of calibration and noise: amplitudes to power by the native operation, against the reference and the tables' own rows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfd_edge import ArrayError, _native
from hfd_edge.products.border import measured_columns
from hfd_edge.products.tables import AzimuthBlock, BilinearTable, NoiseTable, Vector
from tests.reference import power_by_tables

WHERE = Path("calibration.xml")


def arguments(rng, rows, cols, lines=3, pieces=3):
    """Of the native operation, without `power`: some weights are 0, and some power drowns in the noise."""
    def table(low, high):
        weight = rng.random(rows) * (rng.random(rows) < 0.7)
        return low + (high - low) * rng.random((lines, cols)), rng.integers(0, lines - 1, rows), weight

    ends = np.sort(np.append(rng.integers(0, cols + 1, pieces - 1), cols))
    return (rng.integers(0, 300, (rows, cols)).astype(np.uint16), table(200.0, 700.0), table(0.0, 20_000.0), 0.5 + rng.random((rows, pieces)), ends)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 9), cols=st.integers(1, 70), lines=st.integers(2, 4), pieces=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_power_equals_the_reference_to_the_bit(rows, cols, lines, pieces, seed):
    given_ = arguments(np.random.default_rng(seed), rows, cols, lines, pieces)
    power = np.full((rows, cols), np.nan, np.float32)
    _native.power_by_tables(*given_, power)
    np.testing.assert_array_equal(power.view(np.uint32), power_by_tables(*given_).view(np.uint32))


def test_wide_rows_and_rows_of_a_larger_array_are_the_same():
    stored, gain, noise, factors, ends = arguments(np.random.default_rng(1), 3, 2500)
    whole, power = np.zeros((2, 3, 2500), np.float32), np.zeros((3, 2500), np.float32)
    _native.power_by_tables(stored, gain, noise, factors, ends, power)
    assert (power == 0).any() and (power > 0).any()
    np.testing.assert_array_equal(power, power_by_tables(stored, gain, noise, factors, ends))
    for row in range(3):
        one = [(lines, first[row:row + 1], weight[row:row + 1]) for lines, first, weight in (gain, noise)]
        _native.power_by_tables(stored[row:row + 1], *one, factors[row:row + 1], ends, whole[1, row:row + 1])
    np.testing.assert_array_equal(whole[1], power)
    assert not whole[0].any()


def misplaced(array):
    """The same numbers, a byte off where their kind may lie."""
    return np.frombuffer(b" " + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)


@pytest.mark.parametrize("change, words", [
    (lambda a: a | {"gain": (a["gain"][0], a["gain"][1] + 2, a["gain"][2])}, "gain: row . lies between lines"),
    (lambda a: a | {"noise": (a["noise"][0], a["noise"][1] - 9, a["noise"][2])}, "noise: row 0 lies between lines -"),
    (lambda a: a | {"ends": a["ends"] - 1}, "last piece ends at 29: it must end with the 30 columns"),
    (lambda a: a | {"ends": a["ends"][::-1].copy()}, "must not decrease|must end with"),
    (lambda a: a | {"factors": a["factors"][:, :1].copy()}, "factors and ends have shapes"),
    (lambda a: a | {"stored": a["stored"].astype(np.int16)}, "stored is int16: it must be uint16"),
    (lambda a: a | {"gain": (a["gain"][0][:, 1:].copy(), *a["gain"][1:])}, "gain has shapes"),
    (lambda a: a | {"power": np.zeros((30, 4), np.float32).T}, "columns adjacent"),
    (lambda a: a | {"power": np.zeros((4, 29), np.float32)}, r"power has shape \(4, 29\)"),
    (lambda a: a | {"ends": misplaced(a["ends"])}, "ends begins at an address that is no multiple of 8.*give a copy"),
    (lambda a: a | {"noise": (misplaced(a["noise"][0]), *a["noise"][1:])}, "noise begins at an address")])
def test_what_does_not_fit_is_refused(change, words):
    named = dict(zip(("stored", "gain", "noise", "factors", "ends"), arguments(np.random.default_rng(2), 4, 30)))
    with pytest.raises(ArrayError, match=words):
        _native.power_by_tables(**change(named | {"power": np.zeros((4, 30), np.float32)}))


def tables(rng, cols):
    """A table whose lines and pixels reach beyond the image or not to its ends, and blocks that overlap, leave gaps and reach beyond it."""
    lines = np.unique(rng.integers(-20, 60, rng.integers(1, 6)))
    pixels = np.unique(rng.integers(0, cols, 4))
    across = BilinearTable([Vector(float(line), pixels.astype(float), 100 * rng.random(pixels.size)) for line in lines], cols, WHERE)
    blocks = []
    for _ in range(rng.integers(0, 6)):
        first, last = np.sort(rng.integers(-10, 50, 2))
        low, high = np.sort(rng.integers(-5, cols + 5, 2))
        at = np.unique(rng.integers(first, last + 1, 3)).astype(float)
        blocks.append(AzimuthBlock(int(first), int(last), int(low), int(high), at, 0.5 + rng.random(at.size)))
    return NoiseTable(across, tuple(blocks))


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), row=st.integers(0, 40), rows=st.integers(1, 30), cols=st.integers(1, 40))
def test_lines_and_factors_of_some_rows_are_those_of_each_row(seed, row, rows, cols):
    rng = np.random.default_rng(seed)
    noise, col = tables(rng, cols), int(rng.integers(0, cols))
    width = int(rng.integers(1, cols - col + 1))
    lines, first, weight = noise.across.lines(row, rows, col, width)
    factors, ends = noise.factors(row, rows, col, width)
    assert ends[-1] == width and (np.diff(ends) > 0).all() and first.dtype == ends.dtype == np.int64
    spread = np.repeat(factors, np.diff(ends, prepend=0), axis=1)
    for r in range(rows):
        above = lines[first[r]]
        between = above + weight[r] * (lines[first[r] + 1] - above) if weight[r] else above
        np.testing.assert_array_equal(between, noise.across.row(row + r)[col:col + width])
        factor = np.ones(cols)
        for block in noise.blocks:
            if block.first_line <= row + r <= block.last_line:
                factor[max(block.first_pixel, 0):max(block.last_pixel + 1, 0)] = np.interp(row + r, block.lines, block.values)
        np.testing.assert_array_equal(spread[r], factor[col:col + width])
        np.testing.assert_array_equal(noise.part(row, rows, col, width)[r], between * spread[r])


def border_of(power, noise):
    """Columns first..stop-1 inside the border: from either side the first 8 pixels whose sum exceeds half of the noise's."""
    width = min(8, power.size)
    bright = [col for col in range(power.size - width + 1) if power[col:col + width].sum() > 0.5 * noise[col:col + width].sum()]
    return (bright[0], bright[-1] + width) if bright else (0, 0)


@pytest.mark.parametrize("cols, borders", [(5, (0, 3)), (70, (0, 20, 62, 70)), (3000, (0, 5, 1016, 1024, 1030, 2600, 3000))])
def test_the_border_of_each_row_ends_at_its_first_bright_window_from_either_side(cols, borders):
    rng = np.random.default_rng(cols)
    noise = NoiseTable(BilinearTable([Vector(line, np.array([0.0, cols - 1.0]), np.array([400.0, 800.0])) for line in (0.0, 90.0)], cols, WHERE),
                       (AzimuthBlock(0, 90, cols // 3, cols // 2, np.array([0.0]), np.array([2.0])),))
    stored = rng.integers(20, 60, (300, cols)).astype(np.uint16)
    for row in stored:
        left, right = rng.choice(borders, 2)
        row[:left], row[cols - right:] = rng.integers(0, 10, left), rng.integers(0, 10, right)
    first, stop = measured_columns(stored, 3, noise)
    expected = [border_of(np.square(row.astype(np.float64)), noise.part(3 + number, 1, 0, cols)[0]) for number, row in enumerate(stored)]
    np.testing.assert_array_equal(np.stack([first, stop], axis=1), expected)
    assert len(set(expected)) > (1 if cols < 8 else 4) and (0, 0) in expected
    for number in (0, 130, 299):
        np.testing.assert_array_equal(np.stack(measured_columns(stored[number:number + 1], 3 + number, noise), axis=1), expected[number:number + 1])
