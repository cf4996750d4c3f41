"""Tables of a product that are sparse in line and pixel: expanded to whole rows, one row at a time, in float64."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfd_edge.errors import RasterError


@dataclass(frozen=True, slots=True)
class Vector:
    """Values at some pixels of one line of the image; the line may lie outside it."""

    line: float
    pixels: np.ndarray              # (n,) float64, strictly increasing
    values: np.ndarray              # (n,) float64


class BilinearTable:
    """Linear between the pixels of a vector, then linear between the lines of two; beyond the outermost the outermost counts.

    A row depends on nothing but its line, so strips of any height hold the same bits. At most three expanded vectors are kept.
    """

    def __init__(self, vectors: Sequence[Vector], cols: int, where: Path) -> None:
        """Raises RasterError if there is no vector, or lines or pixels do not increase."""
        self._lines = [vector.line for vector in vectors]
        if not vectors or any(b <= a for a, b in zip(self._lines, self._lines[1:])):
            raise RasterError(f"{where}: its {len(vectors)} vectors lie on the lines {str(self._lines)[:80]}: at least one is "
                              "needed and lines must increase; copy or download the product again")
        for vector in vectors:
            if vector.pixels.size != vector.values.size or (np.diff(vector.pixels) <= 0).any():
                raise RasterError(f"{where}: the vector of line {vector.line} has {vector.pixels.size} pixels and "
                                  f"{vector.values.size} values: as many values as pixels are needed, and pixels must "
                                  "increase; copy or download the product again")
        self._vectors = tuple(vectors)
        self._cols = np.arange(cols, dtype=np.float64)
        self._expanded: dict[int, np.ndarray] = {}

    def row(self, line: int) -> np.ndarray:
        """(cols,) float64 of one line of the image; not to be written to."""
        after = bisect_right(self._lines, line)
        if after == 0 or after == len(self._lines):
            return self._whole(max(after - 1, 0))
        first, last = self._lines[after - 1], self._lines[after]
        weight = (line - first) / (last - first)
        above = self._whole(after - 1)
        return above + weight * (self._whole(after) - above) if weight else above

    def _whole(self, number: int) -> np.ndarray:
        if number not in self._expanded:
            vector = self._vectors[number]
            self._expanded = {key: row for key, row in self._expanded.items() if abs(key - number) == 1}
            self._expanded[number] = np.interp(self._cols, vector.pixels, vector.values)
        return self._expanded[number]


@dataclass(frozen=True, slots=True)
class AzimuthBlock:
    """Factors along the lines of one rectangle of the image; first and last belong to it."""

    first_line: int
    last_line: int
    first_pixel: int
    last_pixel: int
    lines: np.ndarray               # (n,) float64, increasing
    values: np.ndarray              # (n,) float64


@dataclass(slots=True)
class NoiseTable:
    """Noise power in DN^2: the range table times the factor of the azimuth block that a pixel lies in, 1 where in none."""

    across: BilinearTable
    blocks: tuple[AzimuthBlock, ...]

    def row(self, line: int) -> np.ndarray:
        """(cols,) float64 of one line of the image; not to be written to."""
        noise = self.across.row(line)
        here = [block for block in self.blocks if block.first_line <= line <= block.last_line]
        if not here:
            return noise
        factor = np.ones_like(noise)
        for block in here:
            factor[max(block.first_pixel, 0):max(block.last_pixel + 1, 0)] = np.interp(line, block.lines, block.values)
        return noise * factor
