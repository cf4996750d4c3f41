"""Where tiles lie: integers only, no arrays, no files.

A scene of (rows, cols) pixels is cut into *cores*; every pixel belongs to exactly one core. Around each core the network
reads a *halo*; core, halo and origin are multiples of the network's stride, so every tile lies on the network's own grid.
Outside the scene the input is the scene itself, reflected at its edge pixels (reflect-101 of scene coordinates).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hfd_edge.errors import GridError


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def reflect101(index: int, size: int) -> int:
    """Index inside 0..size-1 that stands for `index` under reflection without repeating the edge; period 2 (size - 1)."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    index %= period
    return index if index < size else period - index


def reflected_range(first: int, count: int, size: int) -> tuple[int, int]:
    """Smallest half-open range of true indices that `count` reflected indices from `first` on refer to."""
    if count >= 2 * size or size == 1:
        return 0, size
    inside = [reflect101(i, size) for i in (first, first + count - 1)]
    for edge in (0, size - 1):                      # a turning point of the reflection inside the interval is an extreme
        step = 2 * (size - 1)
        turn = edge + -(-(first - edge) // step) * step
        if turn < first + count:
            inside.append(edge)
    return min(inside), max(inside) + 1


@dataclass(frozen=True, slots=True)
class Tile:
    """One input of the network and the part of its output that is used; scene coordinates in pixels.

    With crop that part is the core, inside the scene. With blending it is the core and spread_px around it, and beyond the
    scene's edge one stride, from which up-sampling reads; whether the network is asked is then the scene's matter, not a window's.
    """

    row: int        # first row and column used
    col: int
    rows: int       # size used
    cols: int
    in_row: int     # first row and column of the input; negative or beyond the scene where it is reflected
    in_col: int
    in_rows: int    # input size, multiples of the stride
    in_cols: int
    look: tuple[int, int, int, int]     # row, column, rows and columns inside the input: without a valid pixel there the network is not asked

    @property
    def crop(self) -> tuple[int, int]:
        """Row and column of the first kept pixel inside the input."""
        return self.row - self.in_row, self.col - self.in_col


@dataclass(frozen=True, slots=True)
class Strip:
    """All tiles of one row of cores, left to right; the unit in which a scene is read and written."""

    row: int                    # first kept row: of the cores, inside the window
    rows: int                   # kept rows; with blending 0 for a strip that only adds to its neighbour's
    read_row: int               # first and number of true scene rows the strip's inputs refer to, reflections included
    read_rows: int
    tiles: tuple[Tile, ...]


class _Span(NamedTuple):
    """One core along one axis."""

    kept: int           # first pixel that is kept, and their number
    kept_count: int
    used: int           # first pixel of the network's answer that is used, and their number
    used_count: int
    look: int           # first pixel of the part that is looked at for a valid one, and their number
    look_count: int
    read: int           # first pixel of the input, and their number
    read_count: int


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How a scene is cut into cores of core_rows x core_cols, each with halo_px of context per side.

    offset shifts the grid up and left: the first core then holds fewer pixels. With fixed_shape every input has the same
    size (a static engine); otherwise the last row and column of inputs shrink to what the scene still needs.

    With a window (row, col, rows, cols) only its pixels are kept; reflection is still the scene's. Its tiles are those of the
    scene's grid that touch it, or with own_cores cores that start at the window's first pixel, rounded down to the stride:
    fewer pixels to compute, and the same answer where the halo covers the network's reach.

    With spread_px the answer is used that far beyond each core, where it overlaps with the neighbour's: at most two tiles
    share a pixel along an axis, for no core is smaller than twice the spread.
    """

    scene_rows: int
    scene_cols: int
    core_rows: int
    core_cols: int
    halo_px: int
    stride_px: int
    offset: tuple[int, int] = (0, 0)
    fixed_shape: bool = False
    window: tuple[int, int, int, int] | None = None
    own_cores: bool = False
    spread_px: int = 0

    def __post_init__(self) -> None:
        if self.scene_rows < 1 or self.scene_cols < 1:
            raise GridError(f"scene of {self.scene_rows} x {self.scene_cols} pixels: it must have at least one row and column")
        for name in ("core_rows", "core_cols", "halo_px"):
            value, least = getattr(self, name), 0 if name == "halo_px" else self.stride_px
            if value % self.stride_px or value < least:
                raise GridError(f"{name}={value}: it must be a multiple of stride_px={self.stride_px}, at least {least}, or tiles "
                                f"leave the network's grid; use {max(least, round_up(value, self.stride_px))}")
        for name, shift, core in (("row", self.offset[0], self.core_rows), ("column", self.offset[1], self.core_cols)):
            if shift % self.stride_px or not 0 <= shift < core:
                raise GridError(f"{name} offset={shift}: it must be a multiple of stride_px={self.stride_px} from 0 to below the "
                                f"core of {core}, or tiles leave the network's grid")
        self._check_spread()
        row, col, rows, cols = self.kept
        if min(row, col) < 0 or min(rows, cols) < 1 or row + rows > self.scene_rows or col + cols > self.scene_cols:
            raise GridError(f"window of {rows} x {cols} pixels from row {row}, column {col} on: it must hold a pixel and lie "
                            f"inside the scene of {self.scene_rows} x {self.scene_cols}, whose first row and column are 0; the "
                            f"largest is 0,0,{self.scene_rows},{self.scene_cols}")

    def _check_spread(self) -> None:
        spread = self.spread_px
        if spread % self.stride_px or not 0 <= spread <= self.halo_px:
            raise GridError(f"spread_px={spread}: it must be a multiple of stride_px={self.stride_px} and at most "
                            f"halo_px={self.halo_px}, for what is used must have been read")
        for name, core, scene in (("rows", self.core_rows, self.scene_rows), ("columns", self.core_cols, self.scene_cols)):
            if core < scene and core < 2 * spread:
                raise GridError(f"cores of {core} {name} with spread_px={spread}: a core must hold both overlaps, "
                                f"{2 * spread} px, or three tiles would share a pixel; use larger tiles or a smaller overlap")
        if spread and self.own_cores:
            raise GridError("own_cores with spread_px: a window of a blended map takes the scene's tiles; leave own_cores out")

    @property
    def kept(self) -> tuple[int, int, int, int]:
        """Row, column, rows and columns of the pixels that the tiles keep: the window, else the scene."""
        return self.window or (0, 0, self.scene_rows, self.scene_cols)

    @property
    def tile_px(self) -> tuple[int, int]:
        """Rows and columns of the largest input: a core with its halo."""
        return self.core_rows + 2 * self.halo_px, self.core_cols + 2 * self.halo_px

    @property
    def read_cols(self) -> tuple[int, int]:
        """First and number of true scene columns that the inputs refer to, reflections included."""
        spans = [reflected_range(span.read, span.read_count, self.scene_cols) for span in self._spans(1)]
        first, last = min(first for first, _ in spans), max(last for _, last in spans)
        return first, last - first

    @property
    def borders(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Scene rows and columns at which a core begins, the scene's own edge left out."""
        return tuple(tuple(start for start, *_ in self._cores(axis) if start > 0) for axis in (0, 1))

    @property
    def tile_count(self) -> int:
        return len(self._spans(0)) * len(self._spans(1))

    @property
    def input_px(self) -> int:
        """Input pixels of all tiles together; over the scene's own pixels it is the price of the halo."""
        return sum(span.read_count for span in self._spans(0)) * sum(span.read_count for span in self._spans(1))

    def strips(self) -> Iterator[Strip]:
        """Strips from top to bottom; their cores cover every pixel that is kept exactly once."""
        columns = self._spans(1)
        for row in self._spans(0):
            first, last = reflected_range(row.read, row.read_count, self.scene_rows)
            tiles = tuple(Tile(row.used, col.used, row.used_count, col.used_count, row.read, col.read, row.read_count, col.read_count,
                               (row.look - row.read, col.look - col.read, row.look_count, col.look_count)) for col in columns)
            yield Strip(row.kept, row.kept_count, first, last - first, tiles)

    def _cores(self, axis: int) -> list[tuple[int, int, int]]:
        """(first and last + 1 pixel inside the scene, first of the whole core) of each core along one axis."""
        core, stride = (self.core_rows, self.core_cols)[axis], self.stride_px
        low, high = self.kept[axis], self.kept[axis] + self.kept[axis + 2]
        if self.own_cores:
            top, bottom, origin = low // stride * stride, high, low // stride * stride
        else:
            top, bottom, origin = 0, (self.scene_rows, self.scene_cols)[axis], -self.offset[axis]
        return [(max(start, top), min(start + core, bottom), start) for start in range(origin, bottom, core)]

    def _spans(self, axis: int) -> list[_Span]:
        """The cores along one axis that give something to the window."""
        core, stride = (self.core_rows, self.core_cols)[axis], self.stride_px
        low, high = self.kept[axis], self.kept[axis] + self.kept[axis + 2]
        spans, cores = [], self._cores(axis)
        for first, last, start in cores:
            kept = used = look = max(first, low), min(last, high)
            if self.spread_px:
                core_in_scene = first, last, cores[0][0], cores[-1][1]
                used, look = self._used(core_in_scene, (low, high)), self._used(core_in_scene, (0, (self.scene_rows, self.scene_cols)[axis]))
            if used[0] >= used[1]:
                continue
            read = ((start - self.halo_px, core) if self.fixed_shape else
                    (first - self.halo_px, round_up(last - first, stride)))
            spans.append(_Span(kept[0], max(0, kept[1] - kept[0]), used[0], used[1] - used[0], look[0], look[1] - look[0], read[0],
                               read[1] + 2 * self.halo_px))
        return spans

    def _used(self, core: tuple[int, int, int, int], kept: tuple[int, int]) -> tuple[int, int]:
        """First and last + 1 pixel that a core gives to a blend of the pixels that are kept: (its first, last + 1, the scene's first, last + 1) in."""
        (first, last, top, bottom), (low, high), stride = core, kept, self.stride_px
        edges = max(top - stride, low // stride * stride - stride), round_up(min(bottom, high), stride) + stride
        begin = first - (self.spread_px if first > top else stride)
        end = round_up(last, stride) + stride if last == bottom else last + self.spread_px
        return max(begin, edges[0]), min(end, edges[1])


def equal_core(size: int, largest: int, stride: int) -> int:
    """Core length that cuts `size` into as few pieces as `largest` allows, all nearly equal, a multiple of the stride."""
    largest = max(stride, largest // stride * stride)
    pieces = -(-size // largest)
    return min(largest, round_up(-(-size // pieces), stride))
