"""Incidence over an image of TerraSAR-X, TanDEM-X or PAZ, and its place where it lies in radar geometry.

Two files of a product say so. GEOREF.xml holds a grid in azimuth and range time (t, tau): longitude, latitude, height and incidence. MAPPING_GRID.bin holds
(t, tau) at pixels of the image, evenly spaced: rows of pairs of big-endian float32, as two public readers take it. What does not agree is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.control import GroundControlPoint

from hfd_edge.errors import RasterError
from hfd_edge.products.tables import BilinearTable, Vector
from hfd_edge.products.terrasar import TerraSar, time_of
from hfd_edge.raster import GeoReference
from hfd_edge.raster.xml_file import number_of, read_xml, whole_number_of

_AGAIN = "copy or download the product again"
_MOST_NODES = 1 << 22
_MOST_CONTROL_POINTS_PER_SIDE = 20
_NODES_PER_SIDE = 33
_MOST_OFF_DEG = 0.5                     # sin changes by 2 % at 25 degrees: 0.1 dB
_CENTRE_OFF_DEG = 2.0
_LARGEST_NUMBER = 1e6
_WIDEST_EDGE = 1 / 3                    # of the map without a point: it is wider than the scene by the shift of the highest ground, kilometres in mountains
_MOST_RANGE_OFF = 0.15                  # of the swath; the grid's last place may lie a step before the last pixel
_MAPPING = "productSpecific/projectedImageInfo/mappingGridInfo"


@dataclass(frozen=True, slots=True)
class Georef:
    """The grid of a GEOREF.xml: values at (azimuth, range) of its times, which rise."""

    file: Path
    t: np.ndarray                       # (n,) seconds since the image's start
    tau: np.ndarray                     # (m,) seconds
    lon: np.ndarray                     # (n, m) degrees, without a step at 180
    lat: np.ndarray
    height: np.ndarray
    incidence: np.ndarray               # degrees

    def at(self, values: np.ndarray, t: np.ndarray, tau: np.ndarray) -> np.ndarray:
        """`values` of the grid at times, linear in both, beyond the grid as in its outermost cells."""
        i, x = _between(self.t, t)
        j, y = _between(self.tau, tau)
        above, below = (values[k, j] * (1 - y) + values[k, j + 1] * y for k in (i, i + 1))
        return above * (1 - x) + below * x


def read_georef(product: TerraSar) -> Georef:
    """Raises RasterError: there is none, it is damaged or no grid."""
    file = product.component("GEOREF")
    if file is None:
        raise RasterError(f"{product.xml} names no GEOREF, which holds the incidence angles and the place of its pixels; {_AGAIN}")
    root = read_xml(file, "geoReference")
    grids = root.findall("geolocationGrid")
    if len(grids) != 1:
        raise RasterError(f"{file} has {len(grids)} <geolocationGrid>, and one is read; {_AGAIN}")
    grid = grids[0]
    shape = tuple(whole_number_of(grid, f"numberOfGridPoints/{name}", file) for name in ("azimuth", "range"))
    points = grid.findall("gridPoint")
    if min(shape) < 2 or shape[0] * shape[1] != len(points):
        raise RasterError(f"{file} says that it is a grid of {shape[0]} x {shape[1]} points and has {len(points)}: as many are needed, 2 or more each "
                          f"way; {_AGAIN}")
    names = ("t", "tau", "lon", "lat", "height", "inc")
    values = np.array([[number_of(point, name, file) for name in names] for point in points]).reshape(*shape, len(names)).transpose(2, 0, 1)
    start = product.time("productInfo/sceneInfo/start/timeUTC")
    values[0] += (time_of(grid, "gridReferenceTime/tReferenceTimeUTC", file) - start).total_seconds()
    values[1] += number_of(grid, "gridReferenceTime/tauReferenceTime", file)
    return _rising(file, values)


def _rising(file: Path, values: np.ndarray) -> Georef:
    """With times in rising order; a grid whose times are not those of whole rows and columns is refused."""
    if np.abs(values).max() > _LARGEST_NUMBER:
        raise RasterError(f"{file} holds the number {values.flat[np.abs(values).argmax()]:g}, which is no time, place or angle of an image; {_AGAIN}")
    t, tau = values[0].mean(axis=1), values[1].mean(axis=0)
    values = values[:, np.argsort(t)][:, :, np.argsort(tau)]
    t, tau = np.sort(t), np.sort(tau)
    even = (np.abs(values[0] - t[:, np.newaxis]).max() <= 0.05 * np.diff(t).min(), np.abs(values[1] - tau).max() <= 0.05 * np.diff(tau).min())
    if not all(even) or np.diff(t).min() <= 0 or np.diff(tau).min() <= 0:
        raise RasterError(f"{file}: the times of its points are not those of a grid of rows and columns; {_AGAIN}")
    lon, lat, height, incidence = values[2:]
    if not (5 < incidence.min() and incidence.max() < 85 and np.abs(lat).max() <= 90 and np.abs(lon).max() <= 360):
        raise RasterError(f"{file} holds incidences from {incidence.min():g} to {incidence.max():g} degrees and latitudes up to "
                          f"{np.abs(lat).max():g}: no image of the Earth "
                          f"has; {_AGAIN}")
    lon = np.where(lon < lon[0, 0] - 180, lon + 360, np.where(lon > lon[0, 0] + 180, lon - 360, lon))
    return Georef(file, t, tau, lon, lat, height, incidence)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Times at pixels of an image in radar geometry: (n, m) at these rows and columns."""

    file: Path
    rows: np.ndarray
    cols: np.ndarray
    t: np.ndarray
    tau: np.ndarray


def read_mapping(product: TerraSar, georef: Georef) -> Mapping:
    """Raises RasterError: there is none, it has another size than stated, does not cover the image, or its times are not those of the georef."""
    file = product.component("MAPPING_GRID")
    if file is None:
        raise RasterError(f"{product.xml} names no MAPPING_GRID, which says where its pixels lie; {_AGAIN}")
    raster = f"{_MAPPING}/imageRaster"
    shape = tuple(whole_number_of(product.root, f"{raster}/{name}", product.xml) for name in ("numberOfRows", "numberOfColumns"))
    size = file.stat().st_size
    if min(shape) < 2 or shape[0] * shape[1] > _MOST_NODES or size != shape[0] * shape[1] * 8:
        raise RasterError(f"{file} has {size} bytes, and {product.xml.name} says {shape[0]} x {shape[1]} pairs of float32: they do not belong "
                          f"together; {_AGAIN}")
    with np.errstate(invalid="ignore"):             # NaN, which is refused below
        times = np.fromfile(file, ">f4").reshape(*shape, 2).astype(np.float64)
    rows, cols = (np.arange(n) * step for n, step in zip(shape, _steps(product, file, shape)))
    start = product.time("productInfo/sceneInfo/start/timeUTC")
    t = times[..., 0] + (product.time(f"{_MAPPING}/gridReferenceTime/tReferenceTimeUTC") - start).total_seconds()
    tau = times[..., 1] + number_of(product.root, f"{_MAPPING}/gridReferenceTime/tauReferenceTime", product.xml)
    for name, found, grid in (("azimuth", t, georef.t), ("range", tau, georef.tau)):
        margin = np.diff(grid).max()
        if not (found.min() >= grid[0] - margin and found.max() <= grid[-1] + margin):           # NaN as well
            raise RasterError(f"{file} says that the image lies from {found.min():.6g} to {found.max():.6g} s in {name}, and {georef.file.name} from "
                              f"{grid[0]:.6g} to {grid[-1]:.6g} s: they do not belong together; {_AGAIN}")
    if not all((np.diff(found, axis=axis) > 0).all() or (np.diff(found, axis=axis) < 0).all() for axis, found in enumerate((t, tau))):
        raise RasterError(f"{file}: azimuth times neither rise nor fall all along its rows, or range times along its columns; {_AGAIN}")
    _check_range(product, file, tau[np.ix_(rows < product.rows, cols < product.cols)])
    return Mapping(file, rows, cols, t, tau)


def _check_range(product: TerraSar, file: Path, tau: np.ndarray) -> None:
    """Refuses times of the image's pixels that are not those of its first and last by the main XML: a grid that begins elsewhere, say."""
    stated = sorted(number_of(product.root, f"productInfo/sceneInfo/rangeTime/{name}", product.xml) for name in ("firstPixel", "lastPixel"))
    if max(abs(tau.min() - stated[0]), abs(tau.max() - stated[1])) > _MOST_RANGE_OFF * (stated[1] - stated[0]):
        raise RasterError(f"{file} says that the image lies from {tau.min():.7g} to {tau.max():.7g} s in range, and {product.xml.name} from {stated[0]:.7g} "
                          f"to {stated[1]:.7g} s: they do not belong together; {_AGAIN}")


def _steps(product: TerraSar, file: Path, shape: tuple[int, ...]) -> tuple[float, float]:
    """Rows and columns of the image from one place of a mapping grid to the next.

    Readers disagree on which of rowSpacing and columnSpacing is along the rows. It matters only where the two ratios differ, and then one of them must
    make the grid cover the image. Raises RasterError: none does, or both.
    """
    one, other = (number_of(product.root, f"{_MAPPING}/imageRaster/{name}", product.xml) / spacing
                  for name, spacing in zip(("rowSpacing", "columnSpacing"), product.spacing_m))
    fits = {steps for steps in ((one, other), (other, one))
            if all(step > 0 and -step <= (n - 1) * step - (size - 1) <= 2 * step for n, step, size in zip(shape, steps, (product.rows, product.cols)))}
    if len(fits) != 1:
        raise RasterError(f"{file}: {shape[0]} x {shape[1]} places, {one:g} and {other:g} pixels apart, {'in either order' if fits else 'do not'} "
                          f"cover the image of {product.rows} x {product.cols}: where they lie cannot be told; {_AGAIN}")
    return fits.pop()


def incidence_of_times(product: TerraSar, georef: Georef, mapping: Mapping) -> BilinearTable:
    """Incidence in degrees over an image in radar geometry. Raises RasterError: it is not that of the scene's centre."""
    values = georef.at(georef.incidence, mapping.t, mapping.tau)
    return _checked(product, BilinearTable([Vector(float(row), mapping.cols, line) for row, line in zip(mapping.rows, values)], product.cols, georef.file))


def incidence_of_places(product: TerraSar, georef: Georef, geo: GeoReference) -> BilinearTable:
    """The same over an image on a map: a smooth surface through the grid's points.

    Raises RasterError: they do not lie on the image, or on no such surface.
    """
    places = np.array(geo.of_degrees([*zip(georef.lon.ravel().tolist(), georef.lat.ravel().tolist())]))
    back = ~geo.transform
    with np.errstate(invalid="ignore"):             # a point that has no place on the map is infinite
        x, y = (a * places[:, 0] + b * places[:, 1] + c for a, b, c in ((back.a, back.b, back.c), (back.d, back.e, back.f)))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and x.max() >= (1 - _WIDEST_EDGE) * product.cols and x.min() <= _WIDEST_EDGE * product.cols
            and y.max() >= (1 - _WIDEST_EDGE) * product.rows and y.min() <= _WIDEST_EDGE * product.rows):
        raise RasterError(f"{georef.file}: its points do not cover the image, which lies elsewhere by its own coordinates; {_AGAIN}")
    low, high = np.array([min(y.min(), 0), min(x.min(), 0)]), np.array([max(y.max(), product.rows), max(x.max(), product.cols)])
    degree = 3 if min(georef.t.size, georef.tau.size) >= 5 else 1
    basis = np.polynomial.legendre.legvander2d(*_scaled(y, x, low, high), (degree, degree))
    coefficients = np.linalg.lstsq(basis, georef.incidence.ravel(), rcond=None)[0]
    off = np.abs(basis @ coefficients - georef.incidence.ravel()).max()
    if not off <= _MOST_OFF_DEG:
        raise RasterError(f"{georef.file}: its incidences lie up to {off:.2g} degrees off a smooth surface, at most {_MOST_OFF_DEG:g} are taken; {_AGAIN}")
    rows, cols = (np.linspace(0, n - 1, _NODES_PER_SIDE) if n > 1 else np.zeros(1) for n in (product.rows, product.cols))
    nodes = np.polynomial.legendre.leggrid2d(*_scaled(rows, cols, low, high), coefficients.reshape(degree + 1, degree + 1))
    nodes = np.clip(nodes, georef.incidence.min(), georef.incidence.max())          # corners of the map that no pixel lies in
    return _checked(product, BilinearTable([Vector(float(row), cols, line) for row, line in zip(rows, nodes)], product.cols, georef.file))


def control_points(georef: Georef, mapping: Mapping) -> tuple[GroundControlPoint, ...]:
    """Places of some of the pixels of an image in radar geometry, in degrees and metres above the ellipsoid."""
    some = [np.unique(np.linspace(0, n - 1, min(n, _MOST_CONTROL_POINTS_PER_SIDE)).round().astype(int)) for n in mapping.t.shape]
    t, tau = (times[np.ix_(*some)] for times in (mapping.t, mapping.tau))
    lon, lat, height = (georef.at(values, t, tau) for values in (georef.lon, georef.lat, georef.height))
    lon = (lon + 180) % 360 - 180
    nodes = [(i, j) for i in range(len(some[0])) for j in range(len(some[1]))]
    return tuple(GroundControlPoint(mapping.rows[some[0][i]] + 0.5, mapping.cols[some[1][j]] + 0.5, lon[i, j], lat[i, j], height[i, j], id=str(number))
                 for number, (i, j) in enumerate(nodes, 1))


def _checked(product: TerraSar, table: BilinearTable) -> BilinearTable:
    """Refuses angles that are not those of the scene: the main XML states that of its centre."""
    stated = number_of(product.root, "productInfo/sceneInfo/sceneCenterCoord/incidenceAngle", product.xml)
    found = table.row(product.rows // 2)[product.cols // 2]
    if not abs(found - stated) <= _CENTRE_OFF_DEG:
        raise RasterError(f"{product.xml}: the incidence in the middle of the image is {found:.4g} degrees by its grids and {stated:g} by its own "
                          f"word: its files do not belong together; {_AGAIN}")
    return table


def _between(grid: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in a rising grid times lie: the number of the point before, and the share of the way to the next, 0 to 1 inside it."""
    before = np.clip(np.searchsorted(grid, times) - 1, 0, grid.size - 2)
    return before, (times - grid[before]) / (grid[before + 1] - grid[before])


def _scaled(rows: np.ndarray, cols: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """To -1 .. 1 over a box, where Legendre's polynomials behave."""
    return 2 * (rows - low[0]) / (high[0] - low[0]) - 1, 2 * (cols - low[1]) / (high[1] - low[1]) - 1
