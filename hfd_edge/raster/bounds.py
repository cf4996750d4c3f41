"""A box in map coordinates as a window of pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

from hfd_edge.errors import RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.georeference import GeoReference

_TURN_DEG = 360.0
_INSTEAD = "give the pixels: --window ROW,COL,ROWS,COLS"


class Placed(Protocol):
    """A raster that says where it lies."""

    name: str
    rows: int
    cols: int
    geo: GeoReference


def check_bounds(bounds: Any) -> tuple[float, float, float, float]:
    """`bounds` as (west, south, east, north). Raises RasterError where they are something else, or not finite."""
    try:
        numbers = tuple(map(float, bounds)) if not isinstance(bounds, (str, bytes)) else ()
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise RasterError(f"bounds={bounds!r}: they must be four numbers (west, south, east, north) in the raster's coordinate system "
                          "(--bounds W,S,E,N)")
    return numbers


def window_of(raster: Placed, bounds: Sequence[float]) -> tuple[int, int, int, int]:
    """(row, col, rows, cols) of the pixels whose middle lies in a box (west, south, east, north) in the raster's coordinate system.

    Two boxes that share a side share no pixel, and leave none out between them. In degrees a box may cross the antimeridian (west
    above east), and whole turns do not count.

    Raises:
        RasterError: no box, a raster without a transform or rotated against its coordinates, or a box that is not in it.
    """
    west, south, east, north = check_bounds(bounds)
    asked = f"bounds {_text((west, south, east, north))} of {raster.name}"
    t = raster.geo.transform
    if t is None or t.is_degenerate:
        raise RasterError(f"{asked}: it has no transform from pixels to coordinates (control points, RPCs, or nothing); {_INSTEAD}")
    if abs(t.b) * raster.rows > 0.5 * abs(t.a) or abs(t.d) * raster.cols > 0.5 * abs(t.e):
        raise RasterError(f"{asked}: its rows and columns are rotated against its coordinates, so no window is such a box; {_INSTEAD}")
    sides = sorted((t.c, t.c + t.a * raster.cols)), sorted((t.f, t.f + t.e * raster.rows))
    west, east = _near(raster.geo, west, east, sum(sides[0]) / 2)
    if west >= east or south >= north:
        raise RasterError(f"{asked}: west must lie below east and south below north; the order is W,S,E,N")
    first_col, last_col = _middles(((west - t.c) / t.a, (east - t.c) / t.a), raster.cols)
    first_row, last_row = _middles(((south - t.f) / t.e, (north - t.f) / t.e), raster.rows)
    if min(first_col, first_row) < 0 or last_col > raster.cols or last_row > raster.rows:
        raise RasterError(f"{asked}: {_way_in((west, south, east, north), sides, raster.geo)}")
    if first_col == last_col or first_row == last_row:
        raise RasterError(f"{asked}: no pixel has its middle in it; a pixel is {abs(t.a):.10g} wide and {abs(t.e):.10g} high, so give a larger box")
    return first_row, first_col, last_row - first_row, last_col - first_col


def _middles(ends: tuple[float, float], count: int) -> tuple[int, int]:
    """The half-open range of pixels whose middles lie between two places that are counted in pixels from the side of a raster of `count`.

    Of what lies further outside than the raster is wide no more than that is told: a place can be too far for a number of pixels.
    """
    low, high = (min(max(end, -count - 1.0), 2.0 * count + 1) for end in sorted(ends))
    return math.ceil(low - 0.5), math.ceil(high - 0.5)


def _near(geo: GeoReference, west: float, east: float, middle: float) -> tuple[float, float]:
    """Longitudes by whole turns as the raster counts them: 190 or -170, and a box that crosses 180 in one piece."""
    with no_fork():
        in_degrees = geo.crs is not None and geo.crs.is_geographic
    if not in_degrees:
        return west, east
    east += _TURN_DEG if east < west else 0.0
    turns = round((middle - west / 2 - east / 2) / _TURN_DEG) * _TURN_DEG
    return west + turns, east + turns


def _way_in(box: tuple[float, float, float, float], sides: tuple[list[float], list[float]], geo: GeoReference) -> str:
    (left, right), (bottom, top) = sides
    covers = f"it covers {_text((left, bottom, right, top))}{_system(geo)}"
    inside = max(box[0], left), max(box[1], bottom), min(box[2], right), min(box[3], top)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return f"they lie beside it: {covers}; give a box in these coordinates{_from_degrees(box, geo)}"
    return f"they reach outside: {covers}; the part inside is --bounds {_text(inside)}"


def _from_degrees(box: tuple[float, float, float, float], geo: GeoReference) -> str:
    """The box around what it would be if its numbers were longitudes and latitudes, where they can be."""
    west, south, east, north = box
    if geo.crs is None or max(abs(west), abs(east)) > _TURN_DEG / 2 or max(abs(south), abs(north)) > _TURN_DEG / 4:
        return ""
    with no_fork():
        if geo.crs.is_geographic:
            return ""
    places = geo.of_degrees([(west, south), (west, north), (east, south), (east, north)])
    if not all(math.isfinite(number) for place in places for number in place):
        return ""
    across, along = zip(*places)
    return f"; if they are degrees, it is about --bounds {_text([round(n, 1) for n in (min(across), min(along), max(across), max(along))])}"


def _system(geo: GeoReference) -> str:
    """Its code, else its name: " in EPSG:32633"."""
    if geo.crs is None:
        return ""
    with no_fork():
        text = geo.crs.to_string()
    name = re.match(r'[A-Z_]+\["([^"]+)"', text)
    return f" in {name[1] if name else text[:60]}"


def _text(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.12g}" for number in numbers)
