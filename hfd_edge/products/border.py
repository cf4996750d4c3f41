"""The border of old Sentinel-1 GRD images: low positive numbers where there is no measurement (IPF before 2.9)."""

from __future__ import annotations

import numpy as np

from hfd_edge.products.tables import NoiseTable

CLEAN_SINCE_IPF = 2.9               # from there on such pixels are 0
WINDOW_PX = 8
_END_PX = 1024                      # of a row's ends that are looked at first: seldom is a border wider
_PIECE_ROWS = 128                   # looked at together


def measured_columns(stored: np.ndarray, row: int, noise: NoiseTable) -> tuple[np.ndarray, np.ndarray]:
    """Columns first..stop-1 of each row that lie inside the border, two (rows,) int64; 0 and 0 where the whole row is border.

    From either side the border ends at the first WINDOW_PX pixels whose mean raw power exceeds half of the noise power that
    the product itself states there. That is conservative on purpose: calm water has at least the noise's power, and 8 pixels of
    4.4 looks fall below half of it once in 10^5 rows, while a threshold on the values after noise removal would eat it. What
    this leaves in is border brighter than half the noise, up to WINDOW_PX - 1 pixels per side, and, above and below the image,
    border between two pieces of image in one row. A row depends on nothing but its line.

    Args:
        stored: (rows, cols) amplitudes of whole rows, before noise removal.
        row: of the image, the first of them.
        noise: noise power in DN^2.
    """
    pieces = [_of_piece(stored[first:first + _PIECE_ROWS], row + first, noise) for first in range(0, len(stored), _PIECE_ROWS)]
    first, stop = (np.concatenate(side) for side in zip(*pieces))
    return first, stop


def _of_piece(stored: np.ndarray, row: int, noise: NoiseTable) -> tuple[np.ndarray, np.ndarray]:
    cols, width = stored.shape[1], min(WINDOW_PX, stored.shape[1])
    end = min(_END_PX, cols)
    left, right = (_bright(stored[:, col:col + end], (row, col), noise) for col in (0, cols - end))
    first, stop = left.argmax(axis=1), cols - right[:, ::-1].argmax(axis=1)
    for number in np.flatnonzero(~(left.any(axis=1) & right.any(axis=1))):
        bright = np.flatnonzero(_bright(stored[number:number + 1], (row + number, 0), noise))
        first[number], stop[number] = (bright[0], bright[-1] + width) if bright.size else (0, 0)
    return first, stop


def _bright(stored: np.ndarray, place: tuple[int, int], noise: NoiseTable) -> np.ndarray:
    """Of each window, by its first pixel, whether it lies inside: (rows, windows) bool."""
    (rows, cols), width = stored.shape, min(WINDOW_PX, stored.shape[1])
    excess = np.zeros((rows, cols + 1))
    np.cumsum(np.square(stored.astype(np.float64)) - 0.5 * noise.part(place[0], rows, place[1], cols), axis=1, out=excess[:, 1:])
    return excess[:, width:] - excess[:, :-width] > 0.0
