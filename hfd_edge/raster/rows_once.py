"""Windows of a raster from top to bottom, each row read once: what the next window shares with the last is kept.

Neighbouring windows share their halos. Compressed blocks are decoded whole, so a window's last block is read to its end and
the rows below the window wait in memory for the next one: no block is decoded twice, however the windows lie on the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hfd_edge.device import own_pages

if TYPE_CHECKING:
    from hfd_edge.raster.source import RasterSource


class RowsOnce:
    """Gives windows of some columns of a raster; holds the last window and at most block_rows - 1 rows below it."""

    def __init__(self, source: RasterSource, col: int, cols: int, block_rows: int) -> None:
        self._source, self._col, self._block_rows = source, col, block_rows
        self._row = 0                                       # scene row of the first row in memory
        self._values = np.empty((source.count, 0, cols), source.dtype)
        self._valid: np.ndarray | None = None

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored pixels (bands, rows, cols) of scene rows row..row+rows-1, and their validity (rows, cols) or None = all valid.

        Windows may overlap, skip rows, or step back; only rows of the last one are kept. Both arrays are views of memory that
        no later call changes. Raises RasterError as `RasterSource.read_part` does.
        """
        end = self._row + self._values.shape[1]
        if not self._row <= row <= end:
            self._values, self._valid, self._row, end = self._values[:, :0], None, row, row
        if row + rows > end:
            self._extend(row, row + rows, end)
        at = row - self._row
        return self._values[:, at:at + rows], None if self._valid is None else self._valid[at:at + rows]

    def _extend(self, row: int, last: int, end: int) -> None:
        """Make the rows in memory those from `row` on, with what is missing up to `last` read from `end` on by blocks."""
        block, scene = self._block_rows, self._source.rows
        kept, old = end - row, row - self._row
        stop = max(last, min(-(-last // block) * block, scene))
        values = own_pages((self._source.count, stop - row, self._values.shape[2]), self._source.dtype)
        values[:, :kept] = self._values[:, old:]
        marked = self._source.read_into(values[:, kept:], end, self._col)
        before = None if self._valid is None else self._valid[old:]
        self._values, self._valid, self._row = values, _joined(before, marked, kept, values.shape[1:]), row


def _joined(before: np.ndarray | None, new: np.ndarray | None, kept: int, shape: tuple[int, int]) -> np.ndarray | None:
    """Validity of the kept rows and of the new ones below them; None = all valid."""
    if before is None and new is None:
        return None
    valid = np.ones(shape, bool)
    if before is not None:
        valid[:kept] = before
    if new is not None:
        valid[kept:] = new
    return valid
