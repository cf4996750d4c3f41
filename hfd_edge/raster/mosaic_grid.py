"""Where the files of a mosaic lie on the one grid that they share; whatever does not fit on it is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rasterio

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.georeference import GeoReference
from hfd_edge.raster.guard import RasterLimits, open_raster

MOST_APART_PX = 0.01                # what digits of a georeference lose over a country; nobody sees it
_OURS = ("HFD_ENGINE", "HFD_CLASSES", "HFD_SCORE", "HFD_VALIDITY")         # tags of maps, planes and truths


@dataclass(frozen=True, slots=True)
class Place:
    """Rows and columns of a mosaic that a tile covers; counted from the mosaic's first once it is laid out."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def last_row(self) -> int:
        return self.row + self.rows

    @property
    def last_col(self) -> int:
        return self.col + self.cols


@dataclass(frozen=True, slots=True)
class Layout:
    """The tiles of a mosaic in their order, each with its files, and the grid they lie on."""

    rows: int
    cols: int
    geo: GeoReference
    tiles: tuple[tuple[Place, tuple[Path, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Lying:
    """A file and where it lies."""

    file: Path
    rows: int
    cols: int
    geo: GeoReference


def mosaic_name(files: Sequence[Path]) -> str:
    """What a mosaic is called in reports and maps."""
    return f"mosaic of {len(files)} files, {files[0].name} to {files[-1].name}" if len(files) > 1 else f"mosaic of 1 file, {files[0].name}"


def lay_out(files: Sequence[Path], limits: RasterLimits) -> Layout:
    """The grid of the files' union. Files of one place and size are the bands of one tile.

    Raises RasterError: a file cannot be opened, is a map of ours, has no place or another grid, or the union passes the limits.
    """
    lying = _opened(files, limits)
    first = next(lying)
    found: dict[Place, list[Path]] = {_place(first, first): [first.file]}
    for other in lying:
        found.setdefault(_place(first, other), []).append(other.file)
    top, left = min(place.row for place in found), min(place.col for place in found)
    tiles = tuple((replace(place, row=place.row - top, col=place.col - left), tuple(its)) for place, its in found.items())
    rows, cols = max(place.last_row for place, _ in tiles), max(place.last_col for place, _ in tiles)
    if rows * cols > limits.pixels:
        ends = [its[0] for _, its in (min(tiles, key=lambda t: t[0].row + t[0].col), max(tiles, key=lambda t: t[0].row + t[0].col))]
        raise RasterError(f"the mosaic of {len(files)} files has {rows} x {cols} pixels, from {ends[0]} to {ends[1]}: more than the limit of {limits.pixels}; "
                          "leave out files that lie far from the others, or raise RasterLimits.pixels (RasterOptions(limits=...))")
    geo = replace(first.geo.shifted(top, left), rpcs=None, files=tuple(files))
    return Layout(rows, cols, geo, tiles)


def _opened(files: Sequence[Path], limits: RasterLimits) -> Iterator[_Lying]:
    for file in files:
        with no_fork(), open_raster(file, limits) as dataset:
            ours = next((tag for tag in _OURS if tag in dataset.tags()), None)
            if ours is not None:
                raise RasterError(f"{file} is a map or a truth and no scene (its tag {ours} says so): as a tile of the mosaic it would be segmented; move it "
                                  "out of the folder, or name the tiles themselves")
            lying = _Lying(file, *dataset.shape, GeoReference.of(dataset, ()))
        t = lying.geo.transform
        if t is None:
            raise RasterError(f"{file} has no transform from pixels to coordinates: nothing says where it lies in the mosaic; take it from the product "
                              "in map geometry, or give it one with gdal_edit -a_ullr")
        if t.b != 0 or t.d != 0 or t.is_degenerate:
            raise RasterError(f"{file} is rotated (its transform is {tuple(t)[:6]}): the tiles of a mosaic lie along rows and columns; bring all of them to "
                              f"one grid{_to_one_grid(lying.geo)}")
        yield lying


def _place(first: _Lying, other: _Lying) -> Place:
    """In pixels from the first file's corner. Raises RasterError where it is on no whole ones, or of another system or size."""
    if first.geo.crs != other.geo.crs and not _same_system(first, other):
        raise RasterError(f"{other.file} is in {_system(other.geo)} and {first.file} in {_system(first.geo)}: a mosaic has one coordinate system; bring "
                          f"all files to one grid{_to_one_grid(first.geo)}")
    a, b = first.geo.transform, other.geo.transform
    if abs(b.a / a.a - 1) * other.cols > MOST_APART_PX or abs(b.e / a.e - 1) * other.rows > MOST_APART_PX:
        raise RasterError(f"{other.file} has pixels of {b.a:.12g} x {b.e:.12g} and {first.file} of {a.a:.12g} x {a.e:.12g}: a mosaic has one pixel size; bring "
                          f"all files to one grid{_to_one_grid(first.geo)}")
    across, down = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    if not (math.isfinite(across) and math.isfinite(down)):
        raise RasterError(f"{other.file} lies at ({b.c}, {b.f}), which is no place; correct its georeference")
    off = max(abs(across - round(across)), abs(down - round(down)))
    if off > MOST_APART_PX:
        raise RasterError(f"{other.file} lies {down:.2f} rows and {across:.2f} columns from {first.file}: within {MOST_APART_PX} pixels that must be whole "
                          f"numbers, or pixels would be moved; bring all files to one grid{_to_one_grid(first.geo)}")
    return Place(round(down), round(across), other.rows, other.cols)


def _same_system(first: _Lying, other: _Lying) -> bool:
    """Whether two coordinate systems are one in other words: the other file lies where the first one's system says."""
    if None in (first.geo.crs, other.geo.crs):
        return False
    apart = GeoReference(first.geo.crs, other.geo.transform).pixels_apart(other.geo, other.rows, other.cols)
    return apart is not None and apart <= MOST_APART_PX


def _system(geo: GeoReference) -> str:
    return "no coordinate system" if geo.crs is None else geo.crs.to_string()[:80]


def _to_one_grid(geo: GeoReference) -> str:
    """The command; `rio warp --like` would cut a tile to the other one's place."""
    if geo.crs is None or geo.transform is None:
        return ""
    t: rasterio.Affine = geo.transform
    size = math.hypot(t.a, t.d)
    return f", each by rio warp TILE.tif new.tif --dst-crs {_system(geo)} --res {size:.12g} --target-aligned-pixels"
