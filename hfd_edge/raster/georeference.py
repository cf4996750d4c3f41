"""Where a raster lies on the ground: coordinate system with an affine transform, ground control points, or RPCs."""

from __future__ import annotations

import math
import os
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rasterio
from rasterio.control import GroundControlPoint
from rasterio.errors import CRSError, RasterioError

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.quiet import without_place_warning

_DEGREES = "EPSG:4326"
_EQUATOR_M, _ECCENTRICITY2 = 6378137.0, 0.00669437999014        # of WGS 84
_BANDS_APART_PX = 0.1                    # what a spacing that is rounded to seven digits makes at the far corner of a large scene
_MOST_APART_PX = 0.499                   # half a pixel is another place, whatever the digits of a georeference lose of it


@dataclass(frozen=True, slots=True)
class GeoReference:
    """Everything that ties pixels to the ground, passed on as read. Slant-range products have control points only."""

    crs: Any = None                         # rasterio CRS of the transform
    transform: Any = None                   # affine: (column, row) to coordinates in crs; rotation allowed; None = none
    gcps: tuple[Any, ...] = ()              # rasterio GroundControlPoints
    gcp_crs: Any = None
    rpcs: Any = None
    area_or_point: str = "Area"
    files: tuple[Path, ...] = ()            # what it was read from; a map with this georeference never replaces them

    @classmethod
    def of(cls, dataset: Any, files: tuple[Path, ...]) -> GeoReference:
        """The georeference of an open rasterio dataset.

        Control points are kept without AREA_OR_POINT=Point: GDAL has counted it in as it read them, and would move them by a pixel as it writes them with it.
        Raises RasterError where there is one and PROJ lacks its tables.
        """
        with without_place_warning():
            transform = dataset.transform
            gcps, gcp_crs = dataset.gcps
        if dataset.crs is not None or gcps or not transform.is_identity:
            _degrees()
        return cls(dataset.crs, None if transform.is_identity else transform, tuple(gcps), gcp_crs, dataset.rpcs,
                   "Area" if gcps else dataset.tags().get("AREA_OR_POINT", "Area"), files)

    @classmethod
    def north_up(cls, crs: str, left: float, top: float, spacing_m: float) -> GeoReference:
        """A grid of square pixels whose upper left corner lies at (left, top) in `crs`, e.g. "EPSG:32633"."""
        return cls(_crs(crs), rasterio.Affine(spacing_m, 0.0, left, 0.0, -spacing_m, top))

    @classmethod
    def by_middles(cls, crs: str, x: tuple[float, float], y: tuple[float, float], files: tuple[Path, ...]) -> GeoReference:
        """A grid by the middle of its first pixel and the step to the next, along the columns (x) and along the rows (y)."""
        return cls(_crs(crs), rasterio.Affine(x[1], 0.0, x[0] - x[1] / 2, 0.0, y[1], y[0] - y[1] / 2), files=files)

    @classmethod
    def by_points(cls, gcps: tuple[Any, ...], files: tuple[Path, ...]) -> GeoReference:
        """Control points in WGS 84 longitudes and latitudes, as products in radar geometry have them."""
        return cls(gcps=gcps, gcp_crs=_degrees(), files=files)

    def shifted(self, row: int, col: int) -> GeoReference:
        """That of the pixels from (row, col) on: transform, control points and RPCs count from there."""
        transform = t = self.transform
        if t is not None:
            transform = rasterio.Affine(t.a, t.b, t.c + t.a * col + t.b * row, t.d, t.e, t.f + t.d * col + t.e * row)
        gcps = tuple(GroundControlPoint(g.row - row, g.col - col, g.x, g.y, g.z, g.id, g.info) for g in self.gcps)
        rpcs = copy(self.rpcs)
        if rpcs is not None:
            rpcs.line_off, rpcs.samp_off = rpcs.line_off - row, rpcs.samp_off - col
        return replace(self, transform=transform, gcps=gcps, rpcs=rpcs)

    def write_to(self, dataset: Any) -> None:
        """Tag a rasterio dataset opened for writing. A GeoTIFF holds a transform or control points, not both."""
        if self.gcps:
            dataset.gcps = (list(self.gcps), self.gcp_crs)
        else:
            if self.crs is not None:
                dataset.crs = self.crs
            if self.transform is not None:
                with without_place_warning():           # of pixels of 1 x 1 from 0,0 on: a GeoTIFF keeps them all the same
                    dataset.transform = self.transform
        if self.rpcs is not None:
            dataset.rpcs = self.rpcs
        dataset.update_tags(AREA_OR_POINT=self.area_or_point)

    def check_storable(self, path: Path) -> None:
        """Raise RasterError where a GeoTIFF at `path` cannot hold the coordinate system: GDAL then writes it beside, in a file that nobody keeps."""
        crs = self.gcp_crs if self.gcps else self.crs
        if crs is None:
            return
        place = rasterio.Affine(2.0, 0.0, 0.0, 0.0, -2.0, 0.0)      # without one rasterio warns
        with no_fork(), rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.MemoryFile() as file:
            with file.open(driver="GTiff", width=1, height=1, count=1, dtype="uint8", crs=crs, transform=place):
                pass
            with file.open() as dataset:
                if dataset.crs is None:
                    raise RasterError(f"{path}: a GeoTIFF cannot hold the scene's coordinate system, {crs.to_wkt()[:120]}...; bring the scene into another "
                                      "one first (gdalwarp -t_srs EPSG:...)")

    def same_place(self, other: GeoReference, rows: int, cols: int) -> bool:
        """Whether two rasters of this size lie on the same pixels: at the corners to a tenth of one, by control points to half of one.

        Whatever the words for the coordinate system, but both have one or none.
        """
        if (self.crs is None) != (other.crs is None) or (self.transform is None) != (other.transform is None):
            return False
        apart = self.pixels_apart(other, rows, cols)
        if apart is not None:
            return apart <= _BANDS_APART_PX
        with no_fork():
            return (self.crs == other.crs and self.transform == other.transform
                    and (not (self.gcps and other.gcps) or _same_points(self.gcps, other.gcps)))

    def pixels_apart(self, other: GeoReference, rows: int, cols: int) -> float | None:
        """How far the corners of a raster of this size lie apart by the two, in pixels of this one along rows or columns.

        Returns:
            None where one of them has no transform (control points and RPCs are not compared); infinity where a corner has no
            place in the coordinate system of this one.
        """
        if self.transform is None or other.transform is None or self.transform.is_degenerate:
            return None
        corners = [(col, row) for row in (0, rows) for col in (0, cols)]
        t = other.transform
        places = [(t.c + t.a * col + t.b * row, t.f + t.d * col + t.e * row) for col, row in corners]
        with no_fork():
            if None not in (self.crs, other.crs) and self.crs != other.crs:
                places = _converted(places, other.crs, self.crs)
        back = ~self.transform
        apart = [max(abs(back.c + back.a * x + back.b * y - col), abs(back.f + back.d * x + back.e * y - row))
                 for (x, y), (col, row) in zip(places, corners)]
        return max(apart) if all(map(math.isfinite, apart)) else math.inf

    def of_degrees(self, places: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Longitudes and latitudes of WGS 84 in the coordinate system; infinity where it has no such place."""
        with no_fork():
            return _converted(places, _degrees(), self.crs)

    def spacing_m(self, rows: int, cols: int) -> tuple[float, float] | None:
        """Metres on the ground from row to row and from column to column in the middle of a raster of this size; None as `_steps_m`."""
        steps = self._steps_m(rows / 2, cols / 2)
        return steps and (math.hypot(*steps[0]), math.hypot(*steps[1]))

    def pixel_km2(self, row: float, col: float) -> float | None:
        """Area on the ground of a pixel whose middle lies at (row, col), counted from the raster's corner, in km2; None as `_steps_m`."""
        if (steps := self._steps_m(row, col)) is None:
            return None
        (a, b), (c, d) = steps
        return abs(a * d - b * c) * 1e-6

    def _steps_m(self, row: float, col: float) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Metres east and north from row to row and from column to column, across the place (row, col).

        On the ellipsoid of WGS 84, whatever the coordinate system calls a metre (a metre of Web Mercator is cos(latitude) of one). None
        without a transform and a coordinate system in which it has a place on the Earth.
        """
        if self.transform is None or self.crs is None:
            return None
        t, edges = self.transform, [(col, row - 0.5), (col, row + 0.5), (col - 0.5, row), (col + 0.5, row)]
        with no_fork():
            places = _converted([(t.c + t.a * x + t.b * y, t.f + t.d * x + t.e * y) for x, y in edges], self.crs, _degrees())
        if not all(math.isfinite(number) for place in places for number in place):
            return None
        top, bottom, left, right = places
        latitude = math.radians((top[1] + bottom[1]) / 2)
        return _metres(top, bottom, latitude), _metres(left, right, latitude)

    def another_place(self, other: GeoReference, rows: int, cols: int) -> str | None:
        """How far a raster of this size lies off this one, in words: "2.0 pixels"; None below half a pixel, and as `pixels_apart`."""
        apart = self.pixels_apart(other, rows, cols)
        if apart is None or apart <= _MOST_APART_PX:
            return None
        if math.isinf(apart):
            return "too far for a number of pixels"
        return f"{apart:.1f} pixels" if apart < 1e4 else f"{apart:.3g} pixels"


def _same_points(ones: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether control points lie on the same rows and columns and, to half a pixel of the mean size between them, on the same places."""
    if [(p.row, p.col) for p in ones] != [(p.row, p.col) for p in others]:
        return False
    numbers = [[p.row for p in ones], [p.col for p in ones], [p.x for p in ones], [p.y for p in ones]]
    rows, cols, east, north = (max(values) - min(values) for values in numbers)
    pixel = max(east, north) / max(rows, cols, 1.0)
    return all(max(abs(p.x - q.x), abs(p.y - q.y)) <= 0.5 * pixel for p, q in zip(ones, others))


def _metres(one: tuple[float, float], other: tuple[float, float], latitude: float) -> tuple[float, float]:
    """East and north, from one of two neighbours in degrees to the other; latitude in radians. Source: radii of curvature of an ellipsoid."""
    flat = 1 - _ECCENTRICITY2 * math.sin(latitude) ** 2
    east, north = math.radians(math.remainder(other[0] - one[0], 360.0)), math.radians(other[1] - one[1])
    return east * math.cos(latitude) * _EQUATOR_M / math.sqrt(flat), north * _EQUATOR_M * (1 - _ECCENTRICITY2) / flat ** 1.5


def _converted(places: list[tuple[float, float]], source: Any, target: Any) -> list[tuple[float, float]]:
    from rasterio._err import CPLE_BaseError            # PROJ's own errors pass through rasterio.warp as they are
    from rasterio.warp import transform
    try:
        return list(zip(*transform(source, target, *zip(*places))))
    except (RasterioError, CRSError, CPLE_BaseError):
        return [(math.inf, math.inf)] * len(places)


def _crs(name: str) -> Any:
    """Raises CRSError: PROJ knows no such coordinate system; RasterError: it knows none."""
    _degrees()
    with no_fork():
        return rasterio.crs.CRS.from_user_input(name)


def _degrees() -> Any:
    """WGS 84, which every PROJ knows that finds its tables. Raises RasterError: it does not find them."""
    try:
        with no_fork():
            return rasterio.crs.CRS.from_user_input(_DEGREES)
    except CRSError as error:
        where = " and ".join(f"{key}={os.environ[key]!r}" for key in ("PROJ_DATA", "PROJ_LIB") if key in os.environ)
        raise RasterError(f"the coordinate system {_DEGREES} cannot be made ({error}){f': PROJ looks for its tables by {where}, which another program set' if where else ''}; "
                          "take PROJ_DATA and PROJ_LIB out of the environment, or install rasterio again, which brings its own") from error
