"""Windows of a raster from top to bottom, each row read once: what the next window shares with the last is kept.

Neighbouring windows share their halos. Compressed blocks are decoded whole: the row of blocks in which a window ends is read
into memory of its own, where what lies below the window waits for the next one. No block is decoded twice, however the windows
lie on the blocks, and beside the windows no more than one row of blocks is held.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hfd_edge.device.pages import PagesAgain, own_pages


class Reader(Protocol):
    """What is read: raster.source.RasterSource."""

    rows: int
    count: int
    dtype: np.dtype

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """Fill values (bands, rows, cols) from scene pixel (row, col) on; gives which pixels are valid, None = all."""
        ...


class RowsOnce:
    """Gives windows of some columns of a raster; holds the last window and one row of blocks."""

    def __init__(self, source: Reader, col: int, cols: int, block_rows: int) -> None:
        self._source, self._col, self._block_rows = source, col, block_rows
        self._pages = PagesAgain()
        self._window = self._blocks = _Rows(0, np.empty((source.count, 0, cols), source.dtype))
        self._end = 0                                       # scene row up to which all is read
        self._block_memory: np.ndarray | None = None

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored pixels (bands, rows, cols) of scene rows row..row+rows-1, and their validity (rows, cols) or None = all valid.

        Windows may overlap, skip rows, or step back; only rows of the last one are kept. Both arrays are views of memory that
        no later call changes. Raises RasterError as `RasterSource.read_part` does.
        """
        if not self._window.row <= row <= self._end:
            self._forget(row)
        if row + rows > self._window.end:
            try:
                self._window = self._made(row, row + rows)
            except BaseException:
                self._forget(row)                           # half of a row of blocks may be overwritten
                raise
        at = slice(row - self._window.row, row - self._window.row + rows)
        return self._window.values[:, at], None if self._window.valid is None else self._window.valid[at]

    def _forget(self, row: int) -> None:
        self._window = self._blocks = _Rows(row, self._window.values[:, :0])
        self._end = row

    def _made(self, row: int, last: int) -> _Rows:
        """A window of the rows row..last-1: those in memory are copied, those from `_end` on are read by blocks."""
        count, _, cols = self._window.values.shape
        made = _Rows(row, self._pages.take((count, last - row, cols), self._source.dtype))
        made.copy(self._window)
        made.copy(self._blocks)
        if last > self._end:
            stop = max(last, min(-(-last // self._block_rows) * self._block_rows, self._source.rows))
            whole = last if stop == last else max(self._end, last // self._block_rows * self._block_rows)
            made.read(self._source, self._end, whole, self._col)
            if stop > last:
                self._blocks = self._row_of_blocks(whole, stop)
                made.copy(self._blocks)
            self._end = stop
        return made

    def _row_of_blocks(self, row: int, stop: int) -> _Rows:
        if self._block_memory is None:
            count, _, cols = self._window.values.shape
            self._block_memory = own_pages((count, self._block_rows, cols), self._source.dtype)
        blocks = _Rows(row, self._block_memory[:, :stop - row])
        blocks.read(self._source, row, stop, self._col)
        return blocks


class _Rows:
    """Some rows of the scene: `values` (bands, rows, cols) from scene row `row` on, and their validity, None = all valid."""

    def __init__(self, row: int, values: np.ndarray) -> None:
        self.row, self.end, self.values = row, row + values.shape[1], values
        self.valid: np.ndarray | None = None

    def copy(self, other: _Rows) -> None:
        """Take over the rows that both have."""
        first, last = max(self.row, other.row), min(self.end, other.end)
        if first < last:
            theirs = slice(first - other.row, last - other.row)
            self.values[:, first - self.row:last - self.row] = other.values[:, theirs]
            self._mark(first, last, None if other.valid is None else other.valid[theirs])

    def read(self, source: Reader, first: int, last: int, col: int) -> None:
        """Read the scene rows first..last-1, which may be none."""
        if first < last:
            self._mark(first, last, source.read_into(self.values[:, first - self.row:last - self.row], first, col))

    def _mark(self, first: int, last: int, valid: np.ndarray | None) -> None:
        if valid is not None:
            if self.valid is None:
                self.valid = np.ones(self.values.shape[1:], bool)
            self.valid[first - self.row:last - self.row] = valid
