"""The equivalent number of looks from local estimates: whole numbers are counted, so no order and no tiling changes it.

Two histograms. One of every window's looks; and one of pairs of windows that touch and share no pixel: where the one says many looks, the
ground is even there, and what the *other* says is an estimate that nobody has picked for being high. Texture and edges only ever
take looks away, so the even part of a scene is what tells its looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import ArrayError

ENL_BINS = 512
LOG2_LOW, LOG2_HIGH = -2.0, 10.0
WINDOW_PX = 15
EVEN_SHARE = 0.05               # of the pairs: those whose one window has the most looks
_EVEN_LEAST = 20 * WINDOW_PX ** 2       # pairs that are taken at least: windows overlap, so these are about 20 independent ones
_SMOOTH_BINS = 21


@dataclass(frozen=True, slots=True)
class LooksCounts:
    """Counts of local looks, added up in place."""

    windows: np.ndarray = field(default_factory=lambda: np.zeros(ENL_BINS, np.int64))               # (ENL_BINS,)
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((ENL_BINS, ENL_BINS), np.int64))     # of a window and the next one

    def add(self, values: np.ndarray, mask: np.ndarray | None, rows: tuple[int, int] | None = None, *, cols: slice = slice(None),
            window_px: int = WINDOW_PX, threads: int = 1) -> None:
        """Count every window that is valid in whole, and its pairs with the one window_px to the right and the one below.

        Args:
            values: (bands, rows, cols) float32 in C order, linear power; halo_px(window_px) more rows and columns than are counted
                wherever the scene has them.
            mask: (rows, cols) uint8, nonzero = valid, or None.
            rows: (first, count) of the windows' centres; windows see all of `values`. None = all.
            cols: of the windows' centres.
        Raises:
            ArrayError: window_px is not odd or not 3 to 15.
        """
        first, count = rows if rows is not None else (0, values.shape[1])
        local = _local_log2_enl(values, mask, (first, min(count + window_px, values.shape[1] - first)), window_px, threads)
        own = range(*cols.indices(values.shape[2]))
        _native.count_between(np.ascontiguousarray(local[:, :count, cols]), LOG2_LOW, LOG2_HIGH, self.windows)
        for plane in local:
            _native.count_pairs(plane, (own.start, len(own)), count, window_px, LOG2_LOW, LOG2_HIGH, self.pairs)

    @property
    def looks(self) -> float:
        """The equivalent number of looks: the mode of the windows whose neighbour is among the EVEN_SHARE with the most looks.

        Where a scene is too small for pairs, the mode of all windows.
        Raises:
            ArrayError: nothing was counted.
        """
        both = self.pairs + self.pairs.T
        by_neighbour = both.sum(axis=1)
        wanted = max(EVEN_SHARE * int(by_neighbour.sum()), _EVEN_LEAST)
        from_top = np.cumsum(by_neighbour[::-1])
        lowest = ENL_BINS - 1 - min(int(np.searchsorted(from_top, wanted)), ENL_BINS - 1)
        even = both[lowest:].sum(axis=0)
        return enl_of(even if even.any() else self.windows)


def halo_px(window_px: int = WINDOW_PX) -> int:
    """How far around its own pixels `LooksCounts.add` looks."""
    return window_px // 2 + window_px


def _local_log2_enl(values: np.ndarray, mask: np.ndarray | None, rows: tuple[int, int], window_px: int, threads: int) -> np.ndarray:
    """(bands, count, cols) float32: log2 of the looks of the window around each pixel, NaN where it is not whole."""
    if window_px not in range(3, WINDOW_PX + 1, 2):
        raise ArrayError(f"window_px={window_px}: it must be odd, 3 to {WINDOW_PX}")
    local = np.empty((values.shape[0], rows[1], values.shape[2]), np.float32)
    native = _native.Speckle("local_enl", "mask", window_px // 2, 1.0, 0.0, 0.0, 0.0, 0.0)
    native.run(values, mask, [], rows[0], local, threads)
    return local


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
