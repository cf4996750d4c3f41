"""A window of a raster as a raster of its own, for pictures and comparisons."""

from __future__ import annotations

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.raster.source import RasterSource


class RasterPart:
    """Rows and columns from (row, col) on of an open RasterSource; closing it is the source's business."""

    def __init__(self, source: RasterSource, window: tuple[int, int, int, int]) -> None:
        """`window` is (row, col, rows, cols). Raises RasterError if it does not lie inside the raster."""
        self._row, self._col, self.rows, self.cols = window
        last_row, last_col = self._row + self.rows, self._col + self.cols
        if min(window[:2]) < 0 or min(window[2:]) < 1 or last_row > source.rows or last_col > source.cols:
            raise RasterError(f"window {','.join(map(str, window))} of {source.name}: it must lie inside {source.rows} x "
                              f"{source.cols} pixels, given as ROW,COL,ROWS,COLS from 0,0 on")
        self._source = source
        self.name, self.count, self.dtype = source.name, source.count, source.dtype
        self.geo = source.geo.shifted(self._row, self._col)

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """As `RasterSource.read`, rows and columns counted from the window's first."""
        return self._source.read_part(self._row + row, rows, self._col, self.cols)
