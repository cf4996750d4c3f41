"""How many pixels of a map each class has, and how much ground that is: counted from the rows as they are written."""

from __future__ import annotations

import numpy as np

from hfd_edge import _native
from hfd_edge.raster.georeference import GeoReference

_PIECES, _PIECE_PX = 16, 512            # at most so many of a strip, none narrower


class ClassCounts:
    """Takes the rows of a label map, in any order.

    Attributes:
        pixels: (classes + 1,) int64, of each class, and of none.
        km2: (classes + 1,) float64, ground of each class, and of none; None where pixels have no size on the ground.
    """

    def __init__(self, classes: int, geo: GeoReference | None) -> None:
        """`classes`: labels 0..classes-1 are counted one by one, all others (nodata) together; `geo`: of the map."""
        self._classes, self._geo = classes, geo
        self.pixels = np.zeros(classes + 1, np.int64)
        self.km2: np.ndarray | None = None if geo is None else np.zeros(classes + 1, np.float64)

    def add(self, row: int, labels: np.ndarray) -> None:
        """Count labels (rows, cols) uint8 that begin at a row of the map. A pixel of up to 12 classes takes 0.1 to 0.25 ns.

        The pixels of a piece of a strip count by that in its middle: in degrees they get smaller towards the poles, in a polar
        projection larger, along rows as well as columns.
        """
        rows, cols = labels.shape
        step = max(_PIECE_PX, -(-cols // _PIECES))
        for col in range(0, cols, step):
            counts, piece = np.zeros(self._classes + 1, np.int64), labels[:, col:col + step]
            _native.count_labels(piece if piece.strides[1:] == (1,) else np.ascontiguousarray(piece), self._classes, counts)
            self.pixels += counts
            if self.km2 is not None:
                area = self._geo.pixel_km2(row + rows / 2, col + piece.shape[1] / 2)
                self.km2 = None if area is None else self.km2 + counts * area
