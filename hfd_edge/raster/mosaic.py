"""Many files side by side as one scene: a halo that reaches over the end of a file is read from the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hfd_edge.forks import no_fork
from hfd_edge.raster.guard import RasterLimits
from hfd_edge.raster.mosaic_gaps import WithoutGaps, spans
from hfd_edge.raster.mosaic_grid import lay_out, mosaic_name
from hfd_edge.raster.mosaic_tiles import OpenTile, OpenTiles, Tile
from hfd_edge.raster.opened import OpenScene, check_inside, check_process
from hfd_edge.raster.rows_once import BlocksOnce, RowsOnce
from hfd_edge.raster.source import RasterSource

_MOST_NOTES = 4

# Fills values from (row, col) of the tile of this number on; gives their validity, None = all valid.
_Read = Callable[[int, np.ndarray, int, int], np.ndarray | None]
_Box = tuple[slice, slice]                          # rows and columns of a window


@dataclass(frozen=True, slots=True)
class MosaicRules:
    """What the caller says of the files of a mosaic."""

    limits: RasterLimits = RasterLimits()           # of each file, and of the pixels of their union
    nodata: tuple[float, ...] | None = None         # in place of what products state of themselves
    unit_given: bool = False                        # then the files' own words need not agree
    bands_by_number: bool = False                   # then the bands' names need not agree


class MosaicSource(OpenScene):
    """The union of files that lie on one grid, read like a RasterSource. Few files are open at a time, those read last.

    Where files overlap, each pixel is taken whole, all its bands, from the first file that has a valid one there; where no file lies,
    pixels are not valid.

    Attributes: as RasterSource. What the files must agree in is the first one's; nodata: () where they differ in it.
    """

    def __init__(self, files: Sequence[Path], open_tile: OpenTile, rules: MosaicRules = MosaicRules()) -> None:
        """Look at every file once.

        Args:
            files: in the order in which they count; those of one place and size hold the bands of one tile.
            open_tile: opens the files of one tile as a scene.
        Raises:
            RasterError: a file cannot be opened, lies on another grid, or says something else of its pixels than the first one.
        """
        self._process, self._lock = os.getpid(), threading.Lock()
        layout = lay_out(files, rules.limits)
        self.files, self.geo, self.rows, self.cols = tuple(files), layout.geo, layout.rows, layout.cols
        self.name = mosaic_name(self.files)
        self._tiles: list[Tile] = []
        self._told: dict[str, None] = {}
        self._overlap = self._differ = 0                # pixels read so far that several files hold, and that differ there
        self._opened = OpenTiles(open_tile)
        read: dict[Path, None] = {}                     # masks that lie beside, too: a map replaces none of them
        with no_fork(), ExitStack() as stack:
            stack.callback(self._opened.close)
            for place, its in layout.tiles:
                tile, source = self._opened.first_look(its, place)
                if not self._tiles:
                    self._like(source, tile)
                tile.check_alike(self._tiles[0] if self._tiles else tile, rules.unit_given, rules.bands_by_number)
                self._tiles.append(tile)
                self._told.update(dict.fromkeys(source.notes))
                read.update(dict.fromkeys(source.geo.files))
                self.filtered = self.filtered or source.filtered
            self._agree(rules)
            self.geo = replace(self.geo, files=tuple(read))
            self._open = stack.pop_all()

    def _like(self, source: RasterSource, tile: Tile) -> None:
        """What is the first tile's."""
        self.count, self.dtype, self.band_names = source.count, source.dtype, source.band_names
        self.band_numbers, self.alpha_numbers = source.band_numbers, source.alpha_numbers
        (self.scale, self.offset), self.quantity, self.filtered = tile.scale, tile.quantity, source.filtered

    def _agree(self, rules: MosaicRules) -> None:
        """What is told of all tiles together."""
        tiles, first = self._tiles, self._tiles[0]
        stated = {tile.nodata for tile in tiles}
        self.nodata: tuple[float, ...] = first.nodata if len(stated) == 1 else ()
        said = {(tile.declared, tile.quantity) for tile in tiles}
        self.declared = replace(first.declared, nodata=self.nodata) if first.declared and len(said) == 1 else None
        self.quantity = first.quantity if len(said) == 1 else None
        if any(tile.bands != first.bands for tile in tiles):
            self.band_names = ("",) * self.count
        self._nodata = [tile.nodata if rules.nodata is None else rules.nodata for tile in tiles]
        self._mark_own = len(stated) > 1 and rules.nodata is None
        self._edges = np.array([(t.place.row, t.place.last_row, t.place.col, t.place.last_col) for t in tiles])
        self._below = [_meet(self._edges[:number], self._edges[number]).size > 0 for number in range(len(tiles))]
        self.block_rows = max(tile.block[0] for tile in tiles)
        self.stored_block = tuple(max(tile.block[1][axis] for tile in tiles) for axis in (0, 1))
        rows, cols = spans(self._edges[:, :2]), spans(self._edges[:, 2:])
        self.without_gaps = self if (rows, cols) == ([(0, self.rows)], [(0, self.cols)]) else WithoutGaps(self, rows, cols)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the files say of themselves, and how far those that overlap differ in what was read so far."""
        told, more = [*self._told][:_MOST_NOTES], len(self._told) - _MOST_NOTES
        told += [f"{more} more notes on other files of the mosaic"] if more > 0 else []
        if self._differ:
            told.append(f"files of the mosaic overlap, and {self._differ / self._overlap:.2g} of the pixels that several hold differ between them: the first "
                        "file in the order given counts, and where their borders show in the scene, they can show in the map")
        return tuple(told)

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """Fill values (bands, rows, cols), any strides, with the stored pixels from (row, col) on; gives `read`'s validity."""
        return self.paste(values, row, col, self.read_tile)

    def reader(self, col: int, cols: int, whole_blocks: bool = True) -> RowsOnce:
        """As `OpenScene.reader`; blocks are those of each file."""
        return RowsOnce(_InBlocks(self) if whole_blocks else self, col, cols, 1)

    def read_tile(self, number: int, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """Fill values from (row, col) of a tile on; gives its validity. The caller is in `paste`."""
        return self._opened.source(self._tiles[number]).read_into(values, row, col)

    def tile(self, number: int) -> Tile:
        """The tile of a number."""
        return self._tiles[number]

    def paste(self, values: np.ndarray, row: int, col: int, read: _Read) -> np.ndarray:
        """Fill values with the tiles that lie there, as `read` gives them; gives `read_into`'s validity."""
        check_inside(self.name, (self.rows, self.cols), row, col, values.shape)
        check_process(self.name, self._process)
        _, rows, cols = values.shape
        there = _meet(self._edges, (row, row + rows, col, col + cols)).tolist()
        valid = np.zeros((rows, cols), bool)
        parts = [_Part.of(self._tiles[number], row, col, (rows, cols)) for number in there]
        if sum(part.size for number, part in zip(there, parts) if not self._below[number]) < rows * cols:
            values[:] = np.nan if values.dtype.kind in "fc" else 0          # gaps hold no number that was there before
        with no_fork(), self._lock:
            for index, (number, part) in enumerate(zip(there, parts)):
                above = [box for other in parts[:index] if (box := part.shared(other))] if self._below[number] else []
                kept = [_Kept.of(values[_all_bands(box)], valid[box], self._nodata[number] if not self._mark_own else ()) for box in above]
                marks = read(number, values[part.bands_at], part.row, part.col)
                valid[part.at] = self._marked(number, values[part.bands_at], marks)
                self._put_back(number, above, kept, values, valid)
        return valid

    def _put_back(self, number: int, boxes: list[_Box], kept: list[_Kept], values: np.ndarray, valid: np.ndarray) -> None:
        """Where tiles that come before this one hold valid pixels these stay; the others are its own."""
        for box, before in zip(boxes, kept):
            both = before.known & _known(values[_all_bands(box)], valid[box], self._nodata[number])
            self._overlap += int(np.count_nonzero(both))
            self._differ += int(np.count_nonzero((values[_all_bands(box)] != before.values).any(axis=0) & both))
        for box, before in zip(boxes, kept):
            np.copyto(values[_all_bands(box)], before.values, where=before.known)
            valid[box] |= before.known

    def _marked(self, number: int, values: np.ndarray, marks: np.ndarray | None) -> np.ndarray | bool:
        """Validity, without the numbers that are nodata in this tile and not in all."""
        if self._mark_own and self._nodata[number]:
            return _known(values, True if marks is None else marks, self._nodata[number])
        return True if marks is None else marks


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a window lies in a tile: `at` in the window, from (row, col) of the tile on."""

    at: _Box
    row: int
    col: int

    @classmethod
    def of(cls, tile: Tile, row: int, col: int, size: tuple[int, int]) -> _Part:
        place = tile.place
        top, left = max(place.row, row), max(place.col, col)
        at = (slice(top - row, min(place.last_row - row, size[0])), slice(left - col, min(place.last_col - col, size[1])))
        return cls(at, top - place.row, left - place.col)

    @property
    def bands_at(self) -> tuple[slice, slice, slice]:
        return _all_bands(self.at)

    def shared(self, other: _Part) -> _Box | None:
        """What of the window lies in both."""
        rows, cols = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(self.at, other.at))
        return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None

    @property
    def size(self) -> int:
        rows, cols = self.at
        return (rows.stop - rows.start) * (cols.stop - cols.start)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A copy of pixels (bands, rows, cols) before a later tile is read over them, and which of them it must not change."""

    values: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, valid: np.ndarray, nodata: Sequence[float]) -> _Kept:
        return cls(values.copy(), _known(values, valid, nodata))


class _InBlocks:
    """A mosaic whose rows are read once from top to bottom: of each file that lies there one row of blocks is held."""

    def __init__(self, mosaic: MosaicSource) -> None:
        self._mosaic = mosaic
        self._tiles: dict[int, BlocksOnce] = {}
        self.rows, self.count, self.dtype = mosaic.rows, mosaic.count, mosaic.dtype

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        """As `MosaicSource.read_into`; the columns are always the same."""
        self._tiles = {number: blocks for number, blocks in self._tiles.items() if self._mosaic.tile(number).place.last_row > row}
        return self._mosaic.paste(values, row, col, self._read)

    def _read(self, number: int, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        if number not in self._tiles:
            block_rows = self._mosaic.tile(number).block[0]
            self._tiles[number] = BlocksOnce(_Closed(self._mosaic, number), col, values.shape[2], block_rows)
        return self._tiles[number].read_into(values, row)


class _Closed:
    """A tile that is opened when it is read."""

    def __init__(self, mosaic: MosaicSource, number: int) -> None:
        self._mosaic, self._number = mosaic, number
        self.rows, self.count, self.dtype = mosaic.tile(number).place.rows, mosaic.count, mosaic.dtype

    def read_into(self, values: np.ndarray, row: int, col: int) -> np.ndarray | None:
        return self._mosaic.read_tile(self._number, values, row, col)


def _all_bands(box: _Box) -> tuple[slice, slice, slice]:
    return slice(None), *box


def _meet(edges: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """Which of the boxes (n, 4), each row, last row, column, last column, share a pixel with one; in their order."""
    row, last_row, col, last_col = window
    return np.flatnonzero((edges[:, 0] < last_row) & (edges[:, 1] > row) & (edges[:, 2] < last_col) & (edges[:, 3] > col))


def _known(values: np.ndarray, valid: np.ndarray | bool, nodata: Sequence[float]) -> np.ndarray:
    """(rows, cols) bool: valid, finite in all bands, and none of these numbers in any."""
    known = np.isfinite(values).all(axis=0) if values.dtype.kind in "fc" else np.ones(values.shape[1:], bool)
    for number in nodata:
        known &= (values != number).all(axis=0)
    known &= valid
    return known
