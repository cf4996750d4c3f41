"""What the annotation files of a Sentinel-1 GRD image say: size, geometry, calibration table, noise table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from rasterio.control import GroundControlPoint

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.safe import Channel
from hfd_edge.products.tables import AzimuthBlock, BilinearTable, NoiseTable, Vector, between_zeros, check_vector, to_the_edges
from hfd_edge.raster.xml_file import number_of, numbers_of, read_xml, text_of, whole_number_of

QUANTITIES = {"sigma0": "sigmaNought", "gamma0": "gamma", "beta0": "betaNought"}
_AGAIN = "copy or download the product again"
_MOST_PIXELS_PER_SIDE = 1 << 20
_MOST_CONTROL_POINTS = 10_000        # a real image has 210
_LEAST_DN2 = 1e-3                   # weakest noise power that can be in DN^2: it is 60 and more there, and 1e-8 to 1e-6 in the first processors' scale
_OWN_SCALE_UNTIL_IPF, _SQUARED_SINCE_IPF = 2.5, 2.34
_OWN_SCALE = {"IW": 75088.7, "EW": 56065.87}       # to DN^2, with the table dn of the calibration
_IW_GRDH_LOOKS, _IW_GRDH_SPACING_M = 4.4, 10.0


@dataclass(frozen=True, slots=True)
class Image:
    """The annotation of one polarisation."""

    rows: int
    cols: int
    mode: str                       # IW, EW, S1 to S6
    orbit_pass: str                 # ascending or descending
    spacing_m: tuple[float, float]  # of lines and samples on the ground
    noise_removed: bool             # by the processor already
    gcps: tuple[GroundControlPoint, ...]

    @property
    def looks(self) -> float | None:
        """Equivalent looks as commonly quoted for IW GRD at 10 m; None for other products. Not measured."""
        same = self.mode == "IW" and all(abs(spacing - _IW_GRDH_SPACING_M) < 0.5 for spacing in self.spacing_m)
        return _IW_GRDH_LOOKS if same else None


def read_image(channel: Channel) -> Image:
    """The annotation of a channel. Raises RasterError if it is damaged, or of anything but a detected GRD image."""
    where = channel.annotation
    root = read_xml(where, "product")
    kind, polarisation = text_of(root, "adsHeader/productType", where), text_of(root, "adsHeader/polarisation", where)
    if kind != "GRD":
        raise RasterError(f"{where} describes a product of type {kind}: only GRD is read here; take the GRD product of this "
                          "pass, or detect it first and give the raster with --unit")
    if polarisation != channel.polarisation:
        raise RasterError(f"{where} says polarisation {polarisation} and its name {channel.polarisation}: files were renamed "
                          "or mixed; unpack the product again")
    info = "imageAnnotation/imageInformation"
    rows, cols = (whole_number_of(root, f"{info}/{name}", where) for name in ("numberOfLines", "numberOfSamples"))
    spacing = tuple(number_of(root, f"{info}/{name}", where) for name in ("azimuthPixelSpacing", "rangePixelSpacing"))
    if not (1 <= rows <= _MOST_PIXELS_PER_SIDE and 1 <= cols <= _MOST_PIXELS_PER_SIDE and min(spacing) > 0):
        raise RasterError(f"{where} claims {rows} x {cols} pixels of {spacing[0]:g} x {spacing[1]:g} m: no GRD image has; {_AGAIN}")
    removed = root.findtext("imageAnnotation/processingInformation/thermalNoiseCorrectionPerformed", "false").strip().lower()
    return Image(rows, cols, text_of(root, "adsHeader/mode", where),
                 text_of(root, "generalAnnotation/productInformation/pass", where).lower(), spacing, removed == "true",
                 _control_points(root, where))


def _control_points(root: Element, where: Path) -> tuple[GroundControlPoint, ...]:
    """The geolocation grid. The annotation counts samples (0 to one less than there are), and a sample is the middle of its pixel."""
    points = root.findall("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    if not 4 <= len(points) <= _MOST_CONTROL_POINTS:
        raise RasterError(f"{where} has {len(points)} geolocation points: 4 to {_MOST_CONTROL_POINTS} place a map; {_AGAIN}")
    names = ("line", "pixel", "longitude", "latitude", "height")
    places = ([number_of(point, name, where) for name in names] for point in points)
    return tuple(GroundControlPoint(line + 0.5, pixel + 0.5, *place, id=str(number)) for number, (line, pixel, *place) in enumerate(places, 1))


def read_calibration(channel: Channel, cols: int, quantity: str) -> BilinearTable:
    """The table A of value = (DN^2 - noise) / A^2 for a quantity of QUANTITIES.

    Raises:
        RasterError: damaged. RadiometryError: a calibration constant or table value that is not above 0.
    """
    where, name = channel.calibration, QUANTITIES[quantity]
    root = read_xml(where, "calibration")
    _check_polarisation(root, channel, where)
    constant = number_of(root, "calibrationInformation/absoluteCalibrationConstant", where)
    if constant <= 0:
        raise RadiometryError(f"{where}: absoluteCalibrationConstant={constant:g} marks an uncalibrated product; its pixels "
                              "have no physical meaning; take another pass")
    vectors = _vectors(root, "calibrationVectorList/calibrationVector", name, where)
    if not vectors:
        raise RadiometryError(f"{where} has no calibration vectors: the pixels have no physical meaning without; {_AGAIN}")
    for vector in vectors:
        if vector.values.size and vector.values.min() <= 0:
            raise RadiometryError(f"{where}: {name} of line {vector.line} holds {vector.values.min():g}: a calibration table "
                                  f"must be above 0 everywhere; {_AGAIN}")
    return BilinearTable(vectors, cols, where)


def read_noise(channel: Channel, cols: int, ipf: float | None) -> tuple[NoiseTable | None, str]:
    """The noise table of a channel, and in words what it is; None where there is none in DN^2.

    Two formats: noiseRangeVector with noiseAzimuthVector (IPF 2.9 and later), or one list of noiseVector (before). Zeros at the ends of a vector, and
    vectors of nothing else, say nothing of the noise: the nearest value counts there.

    Raises:
        RasterError: damaged.
    """
    if channel.noise is None:
        return None, "noise not removed (the product has no noise table)"
    where = channel.noise
    root = read_xml(where, "noise")
    _check_polarisation(root, channel, where)
    across = _vectors(root, "noiseRangeVectorList/noiseRangeVector", "noiseRangeLut", where)
    old = not across
    if old:
        across = _vectors(root, "noiseVectorList/noiseVector", "noiseLut", where)
    if not across:
        raise RasterError(f"{where} has neither noiseRangeVector nor noiseVector: {_AGAIN}, or open it with remove_noise=False")
    if min(vector.values.min(initial=0.0) for vector in across) < 0:
        raise RasterError(f"{where} holds noise power below 0: it is damaged; {_AGAIN}")
    for vector in across:
        check_vector(vector, where)
    stated = [between_zeros(vector) for vector in across if vector.values.any()]
    if not stated:
        return None, "noise not removed (its table holds nothing but zeros)"
    factor, scale = _to_dn2(max(vector.values.max() for vector in stated), channel, ipf)
    if factor is None:
        return None, f"noise not removed ({scale})"
    across = [Vector(vector.line, vector.pixels, vector.values * factor) for vector in stated]
    blocks = to_the_edges([_block(item, where) for item in root.iterfind("noiseAzimuthVectorList/noiseAzimuthVector")])
    what = "range and azimuth" if blocks else "range only, as this version states it"
    return NoiseTable(BilinearTable(across, cols, where), blocks), f"noise removed ({what}{scale})"


def _to_dn2(strongest: float, channel: Channel, ipf: float | None) -> tuple[float | None, str]:
    """What noise power is to be multiplied by to be in DN^2, and what to say of it; None where that is not known.

    Source: ESA, Masking "No-value" Pixels on GRD Products generated by the Sentinel-1 ESA IPF; as SNAP and pyroSAR take it.
    """
    if strongest >= _LEAST_DN2:
        return 1.0, ""
    root = read_xml(channel.calibration, "calibration")
    scale = _OWN_SCALE.get(text_of(root, "adsHeader/mode", channel.calibration))
    if ipf is None or ipf >= _OWN_SCALE_UNTIL_IPF or scale is None:
        return None, f"{'a version that is not stated' if ipf is None else f'IPF {ipf:.2f}'} gives it in a scale that is not known"
    dn = numbers_of(root, "calibrationVectorList/calibrationVector/dn", channel.calibration)[0]
    return scale * dn ** (2 if ipf >= _SQUARED_SINCE_IPF else 1), f"; IPF {ipf:.2f} states it in a scale of its own, converted"


def _check_polarisation(root: Element, channel: Channel, where: Path) -> None:
    found = text_of(root, "adsHeader/polarisation", where)
    if found != channel.polarisation:
        raise RasterError(f"{where} is of polarisation {found} and stands beside {channel.annotation.name}: files were "
                          "renamed or mixed; unpack the product again")


def _vectors(root: Element, path: str, values: str, where: Path) -> list[Vector]:
    return [Vector(whole_number_of(item, "line", where), numbers_of(item, "pixel", where), numbers_of(item, values, where))
            for item in root.iterfind(path)]


def _block(item: Element, where: Path) -> AzimuthBlock:
    names = ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    edges = tuple(whole_number_of(item, name, where) for name in names)
    lines, values = numbers_of(item, "line", where), numbers_of(item, "noiseAzimuthLut", where)
    if lines.size != values.size or (np.diff(lines) <= 0).any() or values.min() < 0:
        raise RasterError(f"{where}: an azimuth noise vector from line {edges[0]} on has {lines.size} lines and {values.size} "
                          f"values: as many are needed, with increasing lines and no value below 0; {_AGAIN}")
    return AzimuthBlock(*edges, lines, values)
