"""What a COSMO-SkyMed product of the first generation says, in HDF5: detected images, by the attributes that ASI's products have.

sigma0 = DN^2 Rref^(2 Rexp) sin(alpha_ref) / (F^2 K), as e-GEOS publishes it for the balanced products (_B): their pixels are compensated for range and
incidence to a reference, and the flags say so. Second generation and KOMPSAT-5 have the same layout but other flags and factors: refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rasterio.control import GroundControlPoint

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.forks import no_fork
from hfd_edge.products.hdf5 import Hdf5File
from hfd_edge.raster import GeoReference, RasterLimits
from hfd_edge.raster.guard import CONVERT_ONE
from hfd_edge.raster.opened import refused

DETECTED = ("DGM_B", "GEC_B", "GTC_B")
ON_A_MAP = ("GEC_B", "GTC_B")
_OTHER_MISSIONS = {"CSG": "COSMO-SkyMed Second Generation", "KMPS": "KOMPSAT-5"}
_COMPENSATED = {name: f"{name} Compensation Geometry" for name in ("Range Spreading Loss", "Incidence Angle", "Range Antenna Pattern")}
_APPLIED = "Calibration Constant Compensation Flag"
_CORNERS = (("Top Left", 0, 0), ("Top Right", 0, 1), ("Bottom Left", 1, 0), ("Bottom Right", 1, 1))
_METRES_A_DEGREE = 6371008.8 * math.pi / 180
_MOST_OFF_SIDE = 0.25                   # of a side's length by the corners against that by pixels and spacing
_MOST_OFF_CENTRE = 0.75                 # of an image's sides, from its middle
_SMALLEST_FACTOR, _LARGEST_FACTOR = 1e-13, 0.1        # DN 65535 would be -34 dB, DN 1 -10 dB
_SAME = 1e-6                            # of two numbers that are one
_AGAIN = "copy or download it again"
_BY_HAND = (f"calibrate it in another tool (SNAP), or, if its factor is known, {CONVERT_ONE}, and give them with --unit amplitude --scale sqrt(factor) "
            "--nodata 0")


@dataclass(frozen=True, slots=True)
class Image:
    """One polarisation: where its pixels lie in the file, and the groups of the beams that it was made of."""

    where: str
    beams: tuple[str, ...]


def is_cosmo(path: str | Path, limits: RasterLimits) -> bool:
    """Whether an HDF5 file says that it is of COSMO-SkyMed or of a mission with its layout. Raises RasterError: damaged, or h5py is missing."""
    with no_fork():
        file = Hdf5File(path, limits)
        try:
            with refused(file.path, "HDF5"):
                return _said(file, "Mission ID") in ("CSK", *_OTHER_MISSIONS)
        finally:
            file.close()


def kind_of(file: Hdf5File) -> str:
    """DGM_B, GEC_B or GTC_B. Raises RasterError: another mission or another product."""
    mission, kind = _said(file, "Mission ID"), _said(file, "Product Type")
    if mission in _OTHER_MISSIONS:
        raise RasterError(f"{file.path} is a product of {_OTHER_MISSIONS[mission]}: its flags and factors are others than those of the first COSMO-SkyMed, "
                          f"and what is published of them does not settle its calibration; {_BY_HAND}")
    if kind not in DETECTED:
        raise RasterError(f"{file.path} is a COSMO-SkyMed product of type {kind or 'not stated'}: {', '.join(DETECTED)} are read, which are detected and "
                          "compensated for range and incidence; order one of these, or detect and calibrate it first (SNAP) and give the raster with --unit")
    return kind


def images_of(file: Hdf5File) -> dict[str, Image]:
    """The images by their polarisation: the mosaic of all beams (/MBI, ScanSAR), else that of each beam (/S01/SBI, ...). Raises RasterError."""
    beams = sorted(name for name in file.names("/") if re.fullmatch(r"S\d\d", name))
    polarisations = {beam: (file.attribute_text(f"/{beam}", "Polarisation") or "").upper() for beam in beams}
    alone = [beam for beam in beams if "SBI" in file.names(f"/{beam}")]
    mosaic = "MBI" in file.names("/")
    if mosaic == bool(alone):
        raise RasterError(f"{file.path} holds {'both a mosaic (MBI) and images of single beams (SBI)' if mosaic else 'no image: neither MBI nor S01/SBI'}; "
                          f"{_AGAIN}")
    if mosaic and len(set(polarisations.values())) != 1:
        raise RasterError(f"{file.path} holds one mosaic (MBI) and beams of the polarisations {', '.join(polarisations.values()) or 'nothing'}: which of them "
                          f"it shows cannot be told; {_AGAIN}")
    found: dict[str, Image] = {}
    for where, group in [("/MBI", beams)] if mosaic else [(f"/{beam}/SBI", [beam]) for beam in alone]:
        name = polarisations[group[0]]
        if name not in ("HH", "HV", "VH", "VV") or name in found:
            raise RasterError(f"{file.path}: {where} is of polarisation {name or 'not stated'}{', as another is' if name in found else ''}: each image needs "
                              f"one of its own (HH, HV, VH, VV); {_AGAIN}")
        found[name] = Image(where, tuple(group))
    return found


def check_compensated(file: Hdf5File) -> dict[str, str]:
    """How the pixels were compensated for range, incidence and antenna, in the product's words. Raises RadiometryError: for one of them they were not."""
    stated = {short: _said(file, name) for short, name in _COMPENSATED.items()}
    for short, how in stated.items():
        if not how or how == "NONE":
            raise RadiometryError(f"{file.path} states {_COMPENSATED[short]!r} as {how or 'nothing'}: one factor calibrates only pixels that are compensated "
                                  f"for it; {_BY_HAND}")
    return stated


def factor_of(file: Hdf5File, image: Image) -> tuple[float, bool]:
    """k of sigma nought = k DN^2, and whether its calibration constant was divided by here (it was applied already otherwise). Raises RadiometryError."""
    flag = file.attribute_numbers("/", _APPLIED, 1)
    if flag not in ((0,), (1,)):
        raise RadiometryError(f"{file.path} states {_APPLIED!r} as {'nothing' if flag is None else f'{flag[0]:g}'}: 0 (the constant is to be applied) or 1 (it "
                              f"was) is known; {_BY_HAND}")
    applied = flag == (1,)
    range_m = _number(file, "/", "Reference Slant Range", 1e5, 1e7)
    exponent = _number(file, "/", "Reference Slant Range Exponent", 0, 4)
    angle = _number(file, "/", "Reference Incidence Angle", 5, 85)
    rescaling = _number(file, "/", "Rescaling Factor", 0, math.inf)
    constant = 1.0 if applied else _constant(file, image)
    # as a sum of logarithms, where no product on the way is too large for a float64
    log = 2 * exponent * math.log(range_m) + math.log(math.sin(math.radians(angle))) - 2 * math.log(rescaling) - math.log(constant)
    if not math.log(_SMALLEST_FACTOR) < log < math.log(_LARGEST_FACTOR):
        raise RadiometryError(f"{file.path}: its attributes make sigma0 = 10^{log / math.log(10):.1f} DN^2 of {image.where}: between {_SMALLEST_FACTOR:g} and "
                              f"{_LARGEST_FACTOR:g} is a factor of uint16 amplitude; {_AGAIN}, or {_BY_HAND}")
    return math.exp(log), not applied


def _constant(file: Hdf5File, image: Image) -> float:
    """That of the beams; a mosaic of beams with several is refused, for which of them it goes by is not published."""
    found = [_number(file, f"/{beam}", "Calibration Constant", 0, math.inf) for beam in image.beams]
    if max(found) > min(found) * (1 + _SAME):
        raise RadiometryError(f"{file.path}: the beams of {image.where} have calibration constants from {min(found):g} to {max(found):g}, and one is needed to "
                              f"calibrate their mosaic; {_BY_HAND}")
    return found[0]


def spacing_of(file: Hdf5File, image: Image) -> tuple[float, float]:
    """Metres from line to line and from column to column. Raises RasterError."""
    lines, columns = (_number(file, image.where, f"{name} Spacing", 0, 1e4, RasterError) for name in ("Line", "Column"))
    return lines, columns


def corners_of(file: Hdf5File, image: Image, shape: tuple[int, int]) -> GeoReference:
    """The four corners of an image in radar geometry, as ground control points at the outer corners of its pixels, where GDAL takes them to lie.

    Raises RasterError: one is missing, or its sides are not as long as its pixels.
    """
    points = []
    for number, (name, down, right) in enumerate(_CORNERS, 1):
        found = file.attribute_numbers(image.where, f"{name} Geodetic Coordinates", 3)
        if found is None or not (abs(found[0]) <= 90 and abs(found[1]) <= 360 and abs(found[2]) < 1e5):
            raise RasterError(f"{file.path}: {image.where} states '{name} Geodetic Coordinates' as {found or 'nothing'}: latitude, longitude and height are "
                              f"needed to place it; {_AGAIN}")
        points.append(GroundControlPoint(down * shape[0], right * shape[1], (found[1] + 180) % 360 - 180, found[0], found[2], id=str(number)))
    sides = {"columns": ((0, 1), (2, 3)), "lines": ((0, 2), (1, 3))}
    lengths = {"columns": shape[1] * spacing_of(file, image)[1], "lines": shape[0] * spacing_of(file, image)[0]}
    for along, pairs in sides.items():
        for one, other in pairs:
            metres = _apart_m(points[one], points[other])
            if not abs(metres / lengths[along] - 1) <= _MOST_OFF_SIDE:
                raise RasterError(f"{file.path}: from '{_CORNERS[one][0]}' to '{_CORNERS[other][0]}' it is {metres:.4g} m by the corners of {image.where} and "
                                  f"{lengths[along]:.4g} m by its {along} and their spacing: they do not belong together; {_AGAIN}")
    return GeoReference.by_points(tuple(points), (file.path,))


def map_of(file: Hdf5File, image: Image, shape: tuple[int, int]) -> GeoReference:
    """The grid of an image on a map: UTM of WGS 84, from the outer corner of its first pixel on, as GDAL takes it.

    Raises RasterError: another projection, or none, or a place that is not that of the scene.
    """
    code, spacing = _utm_of(file), spacing_of(file, image)
    left_top = file.attribute_numbers(image.where, "Top Left East-North", 2)
    if left_top is None or not (0 < left_top[0] < 1e6 and 0 < left_top[1] < 1.1e7):
        raise RasterError(f"{file.path}: {image.where} states 'Top Left East-North' as {left_top or 'nothing'}: metres of a zone of UTM are needed to place "
                          f"it; {_AGAIN}")
    if abs(spacing[0] / spacing[1] - 1) > _SAME:
        raise RasterError(f"{file.path}: {image.where} states a line spacing of {spacing[0]:g} m and a column spacing of {spacing[1]:g} m: readers disagree on "
                          "which of them is from west to east, so pixels that are not square have no place; convert it first (SNAP)")
    place = replace(GeoReference.north_up(code, *left_top, spacing[0]), files=(file.path,))
    centre = file.attribute_numbers("/", "Scene Centre Geodetic Coordinates", 3)
    if centre is not None:
        x, y = place.of_degrees([(centre[1], centre[0])])[0]
        down, right = (left_top[1] - y) / (spacing[0] * shape[0]), (x - left_top[0]) / (spacing[0] * shape[1])
        if not (abs(down - 0.5) <= _MOST_OFF_CENTRE and abs(right - 0.5) <= _MOST_OFF_CENTRE):
            raise RasterError(f"{file.path}: the scene's centre, {centre[0]:.6g} {centre[1]:.6g}, lies outside {image.where} by its place in {code}: they do "
                              f"not belong together; {_AGAIN}")
    return place


def _utm_of(file: Hdf5File) -> str:
    """The EPSG code of the zone that the product states by its numbers. Raises RasterError: they are not those of one."""
    projection, ellipsoid = _said(file, "Projection ID"), re.sub(r"[\W_]", "", _said(file, "Ellipsoid Designator")) or "WGS84"
    centre, origin = (file.attribute_numbers("/", f"Map Projection {name}", 2) or (math.nan, math.nan) for name in ("Centre", "False East-North"))
    scale = (file.attribute_numbers("/", "Map Projection Scale Factor", 1) or (math.nan,))[0]
    south = _near(origin[1], 1e7)
    for zone in range(1, 61):
        wanted = ((centre[0], 0), (centre[1], 6 * zone - 183), (origin[0], 5e5), (origin[1], 1e7 if south else 0), (scale, 0.9996))
        if projection == "UTM" and ellipsoid == "WGS84" and all(_near(*pair) for pair in wanted):
            return f"EPSG:{(32700 if south else 32600) + zone}"
    raise RasterError(f"{file.path} lies on {projection or 'no projection'} of {ellipsoid}, centre {centre}, false east and north {origin}, scale {scale:g}: a "
                      "zone of UTM of WGS84 is read; convert it first (SNAP) and give the raster with --unit")


def _said(file: Hdf5File, name: str) -> str:
    """An attribute of the whole product, in capitals; "" where there is none."""
    return (file.attribute_text("/", name) or "").upper()


def _number(file: Hdf5File, where: str, name: str, above: float, below: float, error: type[Exception] = RadiometryError) -> float:
    """An attribute between two numbers, neither of them included."""
    found = file.attribute_numbers(where, name, 1)
    if found is None or not above < found[0] < below:
        raise error(f"{file.path} states {name!r} of {where} as {'nothing' if found is None else f'{found[0]:g}'}: a number above {above:g} and below "
                    f"{below:g} is needed; {_AGAIN}, or {_BY_HAND}")
    return found[0]


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _SAME * max(abs(wanted), 1)


def _apart_m(one: GroundControlPoint, other: GroundControlPoint) -> float:
    """On a sphere, of neighbours."""
    east = math.remainder(other.x - one.x, 360) * math.cos(math.radians((one.y + other.y) / 2))
    return math.hypot(east, other.y - one.y) * _METRES_A_DEGREE
