"""What the cells of a tensor can depend on along one axis: integers, one entry per cell of a stride period."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from hfd_edge.errors import ReachError

CHANNELS, ROWS, COLS = "crw"                # any axis that is no position is one of CHANNELS here, but the batch
IMAGE_LAYOUT = "ncrw"                       # (batch, channels, rows, cols)


@dataclass(frozen=True, slots=True)
class Axis:
    """Cell i of the tensor depends on input pixels low[i] .. high[i] at most; cell i + len(low) on those period_px further."""

    stride: Fraction            # input pixels per cell
    period_px: int              # total stride of the network: everything repeats after it
    low: tuple[int, ...]
    high: tuple[int, ...]

    def hull(self, first: int, last: int) -> tuple[int, int]:
        """First and last input pixel that cells first..last depend on."""
        cells = range(first, last + 1)
        count = len(self.low)
        return (min(self.low[c % count] + c // count * self.period_px for c in cells),
                max(self.high[c % count] + c // count * self.period_px for c in cells))

    def read(self, stride: Fraction, cells: Callable[[int], tuple[int, int]]) -> Axis:
        """The axis of a tensor whose cell i (of this stride) reads cells(i) = (first, last) of this one.

        Raises:
            ReachError: the new stride does not divide the network's total stride.
        """
        count = self.period_px / stride
        if count.denominator != 1:
            raise ReachError(f"a tensor has stride {stride}, the network stride_px={self.period_px}: each must divide "
                             "the total stride; declare the total stride the network has")
        hulls = [self.hull(*cells(i)) for i in range(int(count))]
        return Axis(stride, self.period_px, tuple(h[0] for h in hulls), tuple(h[1] for h in hulls))

    def joined(self, other: Axis) -> Axis:
        """Cell by cell the hull of both; strides must agree."""
        if self.stride != other.stride:
            raise ReachError(f"tensors of strides {self.stride} and {other.stride} are joined cell by cell: they must be "
                             "on one grid; resize one of them")
        return Axis(self.stride, self.period_px, tuple(map(min, self.low, other.low)), tuple(map(max, self.high, other.high)))


@dataclass(frozen=True, slots=True)
class Field:
    """Rows and columns of a tensor, and which of its axes they are."""

    rows: Axis
    cols: Axis
    layout: str = IMAGE_LAYOUT      # an axis a letter

    def joined(self, other: Field) -> Field:
        return Field(self.rows.joined(other.rows), self.cols.joined(other.cols), self.layout)


def input_field(stride_px: int) -> Field:
    """The field of the image itself: every pixel depends on itself."""
    pixels = tuple(range(stride_px))
    axis = Axis(Fraction(1), stride_px, pixels, pixels)
    return Field(axis, axis)


def linear_cells(cell: int, scale: int | Fraction, margin: Fraction = Fraction(0)) -> tuple[int, int]:
    """First and last source cell that half-pixel bilinear resizing by `scale` reads for one cell, +- margin source cells."""
    centre = Fraction(2 * cell + 1, 2) / scale - Fraction(1, 2)
    return math.floor(centre - margin), math.ceil(centre + margin)


def cubic_cells(cell: int, scale: int | Fraction) -> tuple[int, int]:
    """First and last of the four source cells that half-pixel bicubic resizing by `scale` reads for one cell."""
    below = math.floor(Fraction(2 * cell + 1, 2) / scale - Fraction(1, 2))
    return below - 1, below + 2
