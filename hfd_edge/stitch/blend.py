"""Tiles to finished rows, by blending: where tiles overlap their logits are fused, at the logits' own stride.

A strip's tiles are fused into one field of logits as they come, in any order; two strips are fused when the lower one is
complete, and then the upper one is finished as a single tile would be: up-sampled once, its best class taken. So memory holds
two strips, never a scene, and logits at full resolution never exist. What the shares are is `tiles.shares`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfd_edge import _native
from hfd_edge.device.pages import PagesAgain
from hfd_edge.errors import GridError
from hfd_edge.stitch import STATUS_NODATA, MapRows, PixelCounts, check_logits
from hfd_edge.tiles import Strip, Tile, TileGrid
from hfd_edge.tiles.shares import SHARE_ONE, Blend

_NEW, _HELD_FIRST, _HELD_SECOND = 0, 1, 2       # csrc/ops/blend_pixel.h, BlendState
_FULL = 3                                       # of a column of the field: all tiles that cover it are in
NEIGHBOUR_HELD = _HELD_SECOND                   # role of the cells that a tile shares with the one to its left


@dataclass(frozen=True, slots=True)
class BlendFrame:
    """What all strips of a run have in common."""

    grid: TileGrid
    blend: Blend
    classes: int
    logit_stride: int
    rows: MapRows
    threads: int


@dataclass(frozen=True, slots=True)
class FieldColumns:
    """Where a tile's cells lie in the field of its strip."""

    first: int                  # field column of the first one
    share: np.ndarray           # (cells,) int32, the right tile's share where two tiles cover the cell
    role: np.ndarray            # (cells,) uint8: _FULL where this tile is alone, _HELD_FIRST as the left of two, else right


class BlendStitch:
    """Opens strips from top to bottom and gives them back finished, one strip late."""

    def __init__(self, frame: BlendFrame, counts: PixelCounts) -> None:
        self.frame, self._counts = frame, counts
        self._waiting: BlendStrip | None = None
        self._columns: dict[int, FieldColumns] = {}
        self._pages = PagesAgain(), PagesAgain()

    def open(self, strip: Strip) -> BlendStrip:
        """The strip's field, empty."""
        if not self._columns:
            self._columns = field_columns(strip.tiles, self.frame)
        return BlendStrip(strip, self.frame, self._columns, self._counts, self._pages)

    def close(self, part: BlendStrip) -> list[BlendStrip]:
        """Take a strip whose tiles are all in; gives the strip above it, finished."""
        part.check_complete()
        above, self._waiting = self._waiting, part
        if above is None:
            return []
        share = shared_rows(above.strip, part.strip, self.frame)
        _native.blend_strips(above.field, part.field, share, above.holds, part.holds, self.frame.threads)
        return above.finished()

    def end(self) -> list[BlendStrip]:
        """The last strip, finished."""
        last, self._waiting = self._waiting, None
        return [] if last is None else last.finished()


class BlendStrip:
    """The logits of one strip, fused along its columns; labels and score once it is finished."""

    def __init__(self, strip: Strip, frame: BlendFrame, columns: dict[int, FieldColumns], counts: PixelCounts,
                 pages: tuple[PagesAgain, PagesAgain]) -> None:
        self.strip, self._frame, self._columns, self._counts = strip, frame, columns, counts
        first, s = strip.tiles[0], frame.logit_stride
        self.row, self.rows = first.row, first.rows                                     # of the field, in scene pixels
        self.col = min(tile.col for tile in strip.tiles)
        cols = max(tile.col + tile.cols for tile in strip.tiles) - self.col
        self.field = pages[0].take((frame.classes, self.rows // s, cols // s), np.float32)
        self.status = pages[1].take((self.rows, cols), np.uint8)
        self.holds = np.zeros(cols // s, np.uint8)                                      # of _NEW to _FULL
        self._missing = {tile.in_col for tile in strip.tiles}
        self.labels: np.ndarray | None = None
        self.score: np.ndarray | None = None

    def put(self, tile: Tile, logits: np.ndarray, status: np.ndarray) -> None:
        """Fuse one tile in: logits (classes, rows / s, cols / s) float32 and status (rows, cols) uint8 of its input."""
        frame, at, s = self._frame, self._columns[tile.in_col], self._frame.logit_stride
        check_logits(tile, logits, s)
        there = slice(at.first, at.first + len(at.share))
        held, (top, left) = self.holds[there], tile.crop
        state = np.where(at.role == _FULL, _NEW, held).astype(np.uint8)
        _native.blend_tile(logits, (top // s, left // s), self.field, at.first, at.share, state, frame.threads)
        self.holds[there] = np.where(held == _NEW, at.role, _FULL)
        self._take(tile, status[top:top + tile.rows, left:left + tile.cols])
        self._counts.tiles_run += 1

    def put_empty(self, tile: Tile) -> None:
        """Mark a tile without a valid pixel where it is used: what its neighbours say there is taken as it is."""
        self._take(tile, STATUS_NODATA)
        self._counts.tiles_empty += 1

    def check_complete(self) -> None:
        """Raise GridError unless every tile of the strip was given once."""
        if self._missing:
            raise GridError(f"strip at row {self.strip.row}: {len(self._missing)} of its {len(self.strip.tiles)} tiles were not "
                            "given: every tile is fused exactly once; please report it with the scene's size and tile")

    def finished(self) -> list[BlendStrip]:
        """This strip with its kept rows labelled; nothing where it only added to its neighbours'."""
        frame, (_, col, *_) = self._frame, self._frame.grid.kept
        crop = (self.strip.row - self.row, col - self.col)
        if self.strip.rows == 0:
            return []
        self.labels, self.score = frame.rows.of(self.strip)
        if not self.holds.all():
            self.field[:, :, self.holds == _NEW] = 0            # no valid pixel reads them: all tiles that cover them were empty
        nodata, nan = _native.finish(self.field, frame.logit_stride, self.status, crop, self.labels, self.score,
                                     frame.threads, frame.rows.score_class)
        self._counts.written += self.labels.size
        self._counts.nodata += nodata
        self._counts.nan += nan
        return [self]

    def _take(self, tile: Tile, status: np.ndarray | int) -> None:
        if tile.in_col not in self._missing:
            raise GridError(f"tile at row {tile.row}, column {tile.col} was given twice or belongs to another strip: every tile "
                            "is fused exactly once; please report it with the scene's size and tile")
        self._missing.remove(tile.in_col)
        col = tile.col - self.col
        self.status[:, col:col + tile.cols] = status


def shared_rows(above: Strip, below: Strip, frame: BlendFrame) -> np.ndarray:
    """(rows) int32: the lower strip's share of each row of logits that two neighbouring strips have."""
    s, upper, lower = frame.logit_stride, above.tiles[0], below.tiles[0]
    first = (lower.in_row + frame.grid.halo_px - frame.grid.spread_px) // s         # of the band, a cell of the scene
    return np.asarray(frame.blend.rows, np.int32)[lower.row // s - first:(upper.row + upper.rows) // s - first]


def field_columns(tiles: tuple[Tile, ...], frame: BlendFrame) -> dict[int, FieldColumns]:
    """By the first column of the tiles' inputs. Raises GridError where the shares of a cell do not add up to one."""
    s, origin = frame.logit_stride, min(tile.col for tile in tiles)
    sums = np.zeros((max(tile.col + tile.cols for tile in tiles) - origin) // s, np.int64)
    found = {tile.in_col: FieldColumns((tile.col - origin) // s, np.zeros(tile.cols // s, np.int32),
                                   np.full(tile.cols // s, _FULL, np.uint8)) for tile in tiles}
    for left, right in zip(tiles, tiles[1:]):
        table = _shares_between(left, right, frame)
        at, other = found[left.in_col], found[right.in_col]
        at.share[len(at.share) - len(table):], at.role[len(at.role) - len(table):] = table, _HELD_FIRST
        other.share[:len(table)], other.role[:len(table)] = table, _HELD_SECOND
    for at in found.values():
        own = np.choose(at.role - _HELD_FIRST, [SHARE_ONE - at.share, at.share, SHARE_ONE])
        sums[at.first:at.first + len(own)] += own
    if (sums != SHARE_ONE).any():
        raise GridError(f"the shares of {(sums != SHARE_ONE).sum()} columns of logits do not add up to one: the grid is broken, "
                        "please report it with the scene's size, tile and overlap")
    return found


def _shares_between(left: Tile, right: Tile, frame: BlendFrame) -> np.ndarray:
    """The right tile's share of each cell that both cover."""
    s = frame.logit_stride
    band = right.in_col + frame.grid.halo_px - frame.grid.spread_px         # its first pixel, where nothing cuts it off
    begin, end = right.col - band, left.col + left.cols - band
    return np.asarray(frame.blend.cols[begin // s:max(begin, end) // s], np.int32)
