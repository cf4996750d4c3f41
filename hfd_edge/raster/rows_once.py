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
    """What is read: raster.source.RasterSource, or raster.mosaic.MosaicSource."""

    rows: int
    count: int
    dtype: np.dtype

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """Fill values (bands, rows, cols) from scene pixel (row, col) on; gives which pixels are valid, None = all."""
        ...


class RowsOnce:
    """Gives windows of some columns of a raster; holds the last window and one row of blocks."""

    def __init__(self, source: Reader, col: int, cols: int, block_rows: int) -> None:
        self._source, self._pages = source, PagesAgain()
        self._window = _Rows(0, np.empty((source.count, 0, cols), source.dtype))
        self._blocks = BlocksOnce(source, col, cols, block_rows)

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Stored pixels (bands, rows, cols) of scene rows row..row+rows-1, and their validity (rows, cols) or None = all valid.

        Windows may overlap, skip rows, or step back; only rows of the last one are kept. Both arrays are views of memory that
        no later call changes. Raises RasterError as `RasterSource.read_part` does.
        """
        if not self._window.row <= row <= row + rows <= self._window.end:
            window, self._window = self._window, _Rows(row, self._window.values[:, :0])     # what fails leaves nothing
            self._window = self._made(window, row, rows)
        at = slice(row - self._window.row, row - self._window.row + rows)
        return self._window.values[:, at], None if self._window.valid is None else self._window.valid[at]

    def _made(self, window: _Rows, row: int, rows: int) -> _Rows:
        """The rows row..row+rows-1: those of the last window are copied."""
        count, _, cols = window.values.shape
        made = _Rows(row, self._pages.take((count, rows, cols), self._source.dtype))
        shared = window.row <= row < window.end
        if shared:
            made.copy(window)
        self._blocks.fill(made, window.end if shared else row)
        return made


class BlocksOnce:
    """Fills rows of some columns of a raster from top to bottom; holds the row of blocks in which the last of them lay."""

    def __init__(self, source: Reader, col: int, cols: int, block_rows: int) -> None:
        self._source, self._col, self._block_rows = source, col, block_rows
        self._blocks = self._none = _Rows(0, np.empty((source.count, 0, cols), source.dtype))
        self._memory: np.ndarray | None = None

    def read_into(self, values: np.ndarray, row: int) -> np.ndarray | None:
        """Fill values (bands, rows, cols), any strides, with the pixels from `row` on; gives `RowsOnce.read`'s validity."""
        rows = _Rows(row, values)
        self.fill(rows, row)
        return rows.valid

    def fill(self, rows: _Rows, first: int) -> None:
        """Those from scene row `first` on."""
        last = rows.end
        if self._blocks.row <= first < self._blocks.end:
            rows.copy(self._blocks)
            first = self._blocks.end
        if first < last:
            stop = max(last, min(-(-last // self._block_rows) * self._block_rows, self._source.rows))
            whole = last if stop == last else max(first, last // self._block_rows * self._block_rows)
            rows.read(self._source, first, whole, self._col)
            if stop > last:
                self._blocks = self._row_of_blocks(whole, stop)
                rows.copy(self._blocks)

    def _row_of_blocks(self, row: int, stop: int) -> _Rows:
        self._blocks = self._none                           # half of it is overwritten where this fails
        if self._memory is None:
            count, _, cols = self._none.values.shape
            self._memory = own_pages((count, self._block_rows, cols), self._source.dtype)
        blocks = _Rows(row, self._memory[:, :stop - row])
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
