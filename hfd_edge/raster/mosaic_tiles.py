"""The tiles of a mosaic: what all of them must say alike, and which of them are open."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hfd_edge.errors import RasterError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster.bands import polarisation_of
from hfd_edge.raster.mosaic_grid import Place
from hfd_edge.raster.source import RasterSource


def _most_open() -> int:
    """Files that a mosaic holds open: to open one again costs 10 ms, for every strip of a wide mosaic; a quarter of what this process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 256 if allowed == resource.RLIM_INFINITY else max(1, min(256, allowed // 4))


MOST_OPEN_FILES = _most_open()
OpenTile = Callable[[Sequence[Path]], RasterSource]


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile that may be closed: its files, and what they said when they were opened."""

    files: tuple[Path, ...]
    place: Place
    dtype: np.dtype
    bands: tuple[str, ...]
    scale: tuple[float, float]
    declared: SourceRadiometry | None           # without nodata, which may differ
    quantity: str | None
    nodata: tuple[float, ...]
    block: tuple[int, tuple[int, int]]          # block_rows and stored_block
    transform: Any                              # of its own pixels

    @classmethod
    def of(cls, source: RasterSource, files: tuple[Path, ...], place: Place) -> Tile:
        """What an open source says. Raises RasterError: it has another size than a moment ago."""
        if (source.rows, source.cols) != (place.rows, place.cols):
            raise RasterError(f"{files[0]} has {source.rows} x {source.cols} pixels now and had {place.rows} x {place.cols}: it changed meanwhile; "
                              "run again when nobody writes into it")
        declared = source.declared and replace(source.declared, nodata=())
        return cls(files, place, source.dtype, source.band_names, (source.scale, source.offset), declared, source.quantity,
                   tuple(source.nodata), (source.block_rows, source.stored_block), source.geo.transform)

    def check_alike(self, first: Tile, unit_given: bool, by_number: bool) -> None:
        """Raise RasterError where it says of its pixels something else than the mosaic's first tile.

        Args:
            unit_given: whether the caller says what the pixels are: then the files need not agree on that.
            by_number: whether the caller chose bands by number: then names need not agree.
        """
        if len(self.bands) != len(first.bands):
            self._refuse(first, _named(self.bands), _named(first.bands), "every tile has the same bands, and files of one place and size hold those of one tile "
                         "(two dates of one place are two scenes); give the files that are missing, and leave out others")
        if self.bands != first.bands and not (by_number and self._may_be(first)):
            others = ("choose by name: --bands " + ",".join(first.bands) if sorted(self.bands) == sorted(first.bands) else
                      "where only names differ, choose by number: --bands " + ",".join(map(str, range(1, len(first.bands) + 1))) if self._may_be(first) else
                      "another polarisation is another scene")
            self._refuse(first, _named(self.bands), _named(first.bands), f"every tile has the same bands in the same order; {others}")
        if self.dtype != first.dtype:
            self._refuse(first, str(self.dtype), str(first.dtype), "pixels are never converted, so all are of one kind; convert some with gdal_translate -ot")
        if self.scale != first.scale:
            self._refuse(first, "scale {:g}, offset {:g}".format(*self.scale), "scale {:g}, offset {:g}".format(*first.scale),
                         "stored numbers must mean the same everywhere; apply what GDAL knows of first (gdal_translate -unscale -ot Float32), and make a map "
                         "of each product that has a factor of its own")
        if not unit_given and (self.declared, self.quantity) != (first.declared, first.quantity):
            self._refuse(first, _meant(self), _meant(first), "tiles of a mosaic are one kind of backscatter; leave out others, or, where all are the same, "
                         "say what they are with --unit")

    def _may_be(self, first: Tile) -> bool:
        """Whether no name contradicts that the bands are the first tile's."""
        return all(not a or not b or a == b for a, b in zip(map(polarisation_of, self.bands), map(polarisation_of, first.bands)))

    def _refuse(self, first: Tile, mine: str, its: str, way: str) -> None:
        raise RasterError(f"{_of(self)} {mine} and {_of(first)} {its}: {way}")


class OpenTiles:
    """Opens tiles when they are needed, and closes those that were not for the longest time."""

    def __init__(self, open_tile: OpenTile) -> None:
        self._opener = open_tile
        self._open: OrderedDict[tuple[Path, ...], RasterSource] = OrderedDict()

    def first_look(self, files: tuple[Path, ...], place: Place) -> tuple[Tile, RasterSource]:
        """Opens a tile for the first time."""
        source = self._opener(files)
        try:
            tile = Tile.of(source, files, place)
        except BaseException:
            source.close()
            raise
        self._open[files] = source
        while len(self._open) > 1 and sum(map(len, self._open)) > MOST_OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        return tile, source

    def source(self, tile: Tile) -> RasterSource:
        """The open tile; the caller lets go of it before the next one is asked for.

        Raises RasterError: it cannot be opened any more, or is another one.
        """
        source = self._open.get(tile.files)
        if source is not None:
            self._open.move_to_end(tile.files)
            return source
        again, source = self.first_look(tile.files, tile.place)
        if again != tile:
            self._open.pop(tile.files).close()      # or it would be taken for the tile when it is asked for again
            raise RasterError(f"{_files(tile)} changed while the mosaic was read: run again when nobody writes into it")
        return source

    def close(self) -> None:
        """All of them."""
        while self._open:
            self._open.popitem()[1].close()


def _files(tile: Tile) -> str:
    return ", ".join(map(str, tile.files))


def _of(tile: Tile) -> str:
    return f"{_files(tile)} {'has' if len(tile.files) == 1 else 'have'}"


def _named(bands: tuple[str, ...]) -> str:
    return f"the band{'s' * (len(bands) != 1)} {', '.join(name or '(unnamed)' for name in bands)}"


def _meant(tile: Tile) -> str:
    d = tile.declared
    words = "no stated unit" if d is None else f"the unit {d.unit}, scale {d.scale:g}"
    return words + (f", {tile.quantity}" if tile.quantity else "")
