"""Tables of a product that are sparse in line and pixel: expanded to whole rows in float64, one row at a time, or as the lines that rows lie between."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hfd_edge import _native
from hfd_edge.errors import RasterError

_LAST_LINE = 1 << 31         # of any image
_PIECE_ROWS = 128           # taken together, so that no more lines of a table are expanded at a time, however close they lie
Lines = tuple[np.ndarray, np.ndarray, np.ndarray]       # (n, cols) float64; of each row the first of its lines, int64; weight of the next one, float64


@dataclass(frozen=True, slots=True)
class Vector:
    """Values at some pixels of one line of the image; the line may lie outside it."""

    line: float
    pixels: np.ndarray              # (n,) float64, strictly increasing
    values: np.ndarray              # (n,) float64


def check_vector(vector: Vector, where: Path) -> None:
    """Raises RasterError if it has not as many values as pixels, or pixels do not increase."""
    if vector.pixels.size != vector.values.size or (np.diff(vector.pixels) <= 0).any():
        raise RasterError(f"{where}: the vector of line {vector.line} has {vector.pixels.size} pixels and {vector.values.size} values: as many values as "
                          "pixels are needed, and pixels must increase; copy or download the product again")


def between_zeros(vector: Vector) -> Vector:
    """Without the zeros at its ends, where the outermost value left counts then; the vector must hold another value."""
    first, last = np.flatnonzero(vector.values)[[0, -1]]
    return Vector(vector.line, vector.pixels[first:last + 1], vector.values[first:last + 1])


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
            check_vector(vector, where)
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

    def lines(self, row: int, rows: int, col: int, cols: int) -> Lines:
        """What rows row..row+rows-1 lie between, columns col..col+cols-1 of it: row r is lines[first[r]], or where weight[r] is not 0 linear
        between it and the next; as `row`."""
        at = np.arange(row, row + rows)
        after = np.searchsorted(self._lines, at, side="right")
        inside, first = (0 < after) & (after < len(self._lines)), np.maximum(after - 1, 0)
        here, following = np.asarray(self._lines)[np.stack([first, np.where(inside, after, first)])]
        weight = np.divide(at - here, following - here, out=np.zeros(rows), where=inside)
        numbers = range(first[0], first[-1] + 1 + (weight[-1] != 0))
        return np.stack([self._whole(number)[col:col + cols] for number in numbers]), first - first[0], weight

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


def to_the_edges(blocks: Sequence[AzimuthBlock]) -> tuple[AzimuthBlock, ...]:
    """The blocks, of which the first and the last in line reach to the edges of the image, where the closest counts."""
    reaching = []
    for block in blocks:
        column = [block, *(other for other in blocks if 2 * _shared_pixels(block, other) > _shared_pixels(block, block) > 0)]
        first, last = min(other.first_line for other in column), max(other.last_line for other in column)
        reaching.append(replace(block, first_line=min(first, 0) if block.first_line == first else block.first_line,
                                last_line=max(last, _LAST_LINE) if block.last_line == last else block.last_line))
    return tuple(reaching)


def _shared_pixels(one: AzimuthBlock, other: AzimuthBlock) -> int:
    return min(one.last_pixel, other.last_pixel) - max(one.first_pixel, other.first_pixel) + 1


@dataclass(frozen=True, slots=True)
class NoiseTable:
    """Noise power in DN^2: the range table times the factor of the azimuth block that a pixel lies in, the last of several, 1 where in none."""

    across: BilinearTable
    blocks: tuple[AzimuthBlock, ...]

    def factors(self, row: int, rows: int, col: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the same pixels as `BilinearTable.lines`, the blocks' factors (rows, pieces) float64, and the column before which each piece of a row
        ends, (pieces,) int64."""
        at, pieces = np.arange(row, row + rows), []
        for block in self.blocks:
            first, end = (min(max(pixel - col, 0), cols) for pixel in (block.first_pixel, block.last_pixel + 1))
            lines = (block.first_line <= at) & (at <= block.last_line)
            if first < end and lines.any():
                pieces.append((first, end, lines, np.interp(at[lines], block.lines, block.values)))
        ends = np.unique([cols, *(col for first, end, *_ in pieces for col in (first, end) if col > 0)])
        factors = np.ones((rows, ends.size))
        for first, end, lines, values in pieces:
            factors[np.ix_(lines, (first < ends) & (ends <= end))] = values[:, np.newaxis]
        return factors, ends

    def part(self, row: int, rows: int, col: int, cols: int) -> np.ndarray:
        """(rows, cols) float64 of any part of the image."""
        lines, first, weight = self.across.lines(row, rows, col, cols)
        factors, ends = self.factors(row, rows, col, cols)
        above, below = lines[first], lines[np.minimum(first + 1, len(lines) - 1)]
        return (above + weight[:, np.newaxis] * (below - above)) * np.repeat(factors, np.diff(ends, prepend=0), axis=1)


def power_by_tables(stored: np.ndarray, place: tuple[int, int], calibration: BilinearTable, noise: NoiseTable, power: np.ndarray) -> None:
    """Amplitudes to linear power: max(DN^2 - noise, 0) / A^2, in float64 until it is stored; the same bits for any part.

    Args:
        stored: (rows, cols) uint16.
        place: (row, col) of its first pixel in the image.
        calibration: A.
        power: (rows, cols) float32, columns adjacent, to fill.
    """
    row, col = place
    for first in range(0, len(stored), _PIECE_ROWS):
        numbers = np.ascontiguousarray(stored[first:first + _PIECE_ROWS])
        part = row + first, len(numbers), col, numbers.shape[1]
        _native.power_by_tables(numbers, calibration.lines(*part), noise.across.lines(*part), *noise.factors(*part), power[first:first + _PIECE_ROWS])
