"""The equivalent number of looks from a histogram of local estimates: whole numbers, so no order and no tiling changes it."""

from __future__ import annotations

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import ArrayError

ENL_BINS = 512
LOG2_LOW, LOG2_HIGH = -2.0, 10.0
WINDOW_PX = 15
_SMOOTH_BINS = 21


def log2_enl_counts(values: np.ndarray, mask: np.ndarray | None, counts: np.ndarray, rows: tuple[int, int] | None = None, *,
                    cols: slice = slice(None), window_px: int = WINDOW_PX, threads: int = 1) -> None:
    """Add the local estimates of every window that is valid in whole to a histogram of log2(ENL).

    Args:
        values: (bands, rows, cols) float32 in C order, linear power.
        mask: (rows, cols) uint8, nonzero = valid, or None.
        counts: (ENL_BINS,) int64, for [LOG2_LOW, LOG2_HIGH); what lies outside is left out.
        rows: (first, count) of the windows' centres; windows see all of `values`. None = all.
        cols: of the windows' centres.
    Raises:
        ArrayError: window_px is not odd or not 3 to 15.
    """
    if window_px not in range(3, WINDOW_PX + 1, 2):
        raise ArrayError(f"window_px={window_px}: it must be odd, 3 to {WINDOW_PX}")
    first, count = rows if rows is not None else (0, values.shape[1])
    local = np.empty((values.shape[0], count, values.shape[2]), np.float32)
    native = _native.Speckle("local_enl", "mask", window_px // 2, 1.0, 0.0, 0.0, 0.0, 0.0)
    native.run(values, mask, [], first, local, threads)
    _native.count_between(np.ascontiguousarray(local[..., cols]), LOG2_LOW, LOG2_HIGH, counts)


def enl_of(counts: np.ndarray) -> float:
    """The mode: two box sums of 21 bins, the highest bin (the lowest on a tie), a parabola through it and its neighbours.

    Raises:
        ArrayError: nothing was counted.
    """
    if not counts.any():
        raise ArrayError("no window of 15 x 15 pixels is valid in whole and not flat: the looks cannot be estimated here; give "
                         "the product's ENL (looks=...)")
    box = np.ones(_SMOOTH_BINS, np.int64)
    smooth = np.convolve(np.convolve(counts, box, "same"), box, "same")
    best = int(np.argmax(smooth))
    shift = 0.0
    if 0 < best < ENL_BINS - 1:
        left, middle, right = (int(v) for v in smooth[best - 1:best + 2])
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(2 ** (LOG2_LOW + (best + 0.5 + shift) * (LOG2_HIGH - LOG2_LOW) / ENL_BINS))
