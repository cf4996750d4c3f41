"""What a TerraSAR-X, TanDEM-X or PAZ product says: its main XML and the files that it names, of detected images (MGD, GEC, EEC)."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path
from xml.etree.ElementTree import Element

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.inside import named_file
from hfd_edge.raster.opened import printable
from hfd_edge.raster.xml_file import number_of, read_xml, text_of, whole_number_of

DETECTED = ("MGD", "GEC", "EEC")
_XML = re.compile(r"(TSX|TDX|PAZ|TDM)1_SAR__[A-Z]{3}_\w*_\d{8}T\d{6}_\d{8}T\d{6}\.xml", re.IGNORECASE)
_AGAIN = "copy or download the product again"
_MOST_PIXELS_PER_SIDE = 1 << 20
_MOST_COEFFICIENTS = 16
_LARGEST_FACTOR = 0.1                   # DN 10 would be 10 dB
_CALIBRATED_SINCE = datetime(2008, 1, 7, tzinfo=timezone.utc)
_RASTER = "productInfo/imageDataInfo/imageRaster"
_BY_HAND = "calibrate it in another tool (SNAP) and give the raster with --unit"


class TerraSar:
    """A main XML, checked; `images` are the files by polarisation."""

    def __init__(self, where: Path) -> None:
        """Raises RasterError: damaged, of another kind, or a file that it names lies outside the product's folder or is missing."""
        self.xml, self.folder = where, where.parent
        if where.name.upper().startswith("TDM"):
            raise RasterError(f"{where} describes a pair of TanDEM-X (CoSSC), which is complex: give the folder of a detected image (MGD, GEC, EEC) of one "
                              "satellite, or detect one first and give the raster with --unit")
        self.root = read_xml(where, "level1Product")
        self.variant, sample = (printable(text_of(self.root, f"productInfo/{path}", where)).upper()
                                for path in ("productVariantInfo/productVariant", "imageDataInfo/imageDataType"))
        if self.variant not in DETECTED or sample != "DETECTED":
            raise RasterError(f"{where} describes a {self.variant} product ({sample.lower()}): only detected images are read ({', '.join(DETECTED)}); "
                              "order one of these, or detect it first (SNAP: calibration, multilooking) and give the raster with --unit")
        self.rows, self.cols = (whole_number_of(self.root, f"{_RASTER}/{name}", where) for name in ("numberOfRows", "numberOfColumns"))
        self.spacing_m = tuple(number_of(self.root, f"{_RASTER}/{name}", where) for name in ("rowSpacing", "columnSpacing"))
        if not (1 <= self.rows <= _MOST_PIXELS_PER_SIDE and 1 <= self.cols <= _MOST_PIXELS_PER_SIDE and min(self.spacing_m) > 0):
            raise RasterError(f"{where} claims {self.rows} x {self.cols} pixels of {self.spacing_m[0]:g} x {self.spacing_m[1]:g} m: no image has; {_AGAIN}")
        self.images: dict[str, Path] = {}
        for item in self.root.iterfind("productComponents/imageData"):
            name = printable(text_of(item, "polLayer", where)).upper()
            if name in self.images:
                raise RasterError(f"{where} names several images of {name}: products of several beams or two antennas are not read; take one image")
            self.images[name] = self._file(item)
        if not self.images:
            raise RasterError(f"{where} names no <productComponents/imageData>: {_AGAIN}")

    def factor(self, polarisation: str) -> float:
        """k of beta nought = k DN^2. Raises RadiometryError where the product states no such factor."""
        stated = text_of(self.root, "productInfo/imageDataInfo/pixelValueID", self.xml).upper()
        if stated not in ("RADAR BRIGHTNESS", "BETA NOUGHT"):
            raise RadiometryError(f"{self.xml} says that its pixels are {stated.lower()!r}: radar brightness (beta nought) is what calFactor is for; "
                                  f"{_BY_HAND}")
        if self.time("productInfo/sceneInfo/start/timeUTC") < _CALIBRATED_SINCE:
            raise RadiometryError(f"{self.xml} was observed before 2008-01-07, when the satellite was not calibrated yet: such products are said to "
                                  f"be 56 dB off; take a later one, or {_BY_HAND}")
        found = {number_of(item, "calFactor", self.xml) for item in self.root.iterfind("calibration/calibrationConstant")
                 if item.findtext("polLayer", "").strip().upper() == polarisation}
        if len(found) != 1 or not 0 < min(found) < _LARGEST_FACTOR:
            raise RadiometryError(f"{self.xml} states the calFactor {', '.join(f'{each:g}' for each in sorted(found)) or 'nowhere'} for "
                                  f"{polarisation}: one above 0 and below {_LARGEST_FACTOR:g} is needed to calibrate it (they lie about 1e-5); order it "
                                  f"calibrated, or {_BY_HAND}")
        return found.pop()

    def noise(self, polarisation: str) -> float | None:
        """Noise in DN^2 in the middle of its range, the mean over its records; None where the product does not state it as is known here."""
        found = [_in_the_middle(item, self.xml) for noise in self.root.iterfind("noise") if noise.findtext("polLayer", "").strip().upper() == polarisation
                 for item in noise.iterfind("imageNoise/noiseEstimate")]
        known = [each for each in found if each is not None]
        return sum(known) / len(known) if 0 < len(known) == len(found) else None

    def noise_removed(self) -> bool:
        """Whether the processor took it from the pixels."""
        return self.root.findtext("processing/processingFlags/noiseCorrectedFlag", "").strip().lower() in ("true", "1")

    def component(self, kind: str) -> Path | None:
        """The file of a type such as GEOREF or MAPPING_GRID; None where the product names none. Raises RasterError."""
        found = [item for item in self.root.iterfind("productComponents/*") if item.findtext("type", "").strip().upper() == kind]
        return self._file(found[0]) if found else None

    def time(self, path: str) -> datetime:
        """Raises RasterError."""
        return time_of(self.root, path, self.xml)

    def said(self, path: str) -> str:
        """A text that not every product has."""
        return printable(self.root.findtext(f"productInfo/{path}", ""))[:60] or "not stated"

    def _file(self, item: Element) -> Path:
        place = item.findtext("file/location/path", "").strip() or "."
        return named_file(self.xml, self.folder, f"{place}/{item.findtext('file/location/filename', '').strip()}".removesuffix("/"))


def terrasar_xml(path: object) -> Path | None:
    """The main XML that a path names: it itself, or the folder that holds it; None if it names something else.

    Raises RasterError: a folder of a product's name without it, or one that holds those of several products.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        return None
    path = Path(path)
    if _XML.fullmatch(path.name) and path.is_file():
        return path.absolute()
    found = [file for file in path.glob("*1_[Ss][Aa][Rr]__*") if _XML.fullmatch(file.name)] if path.is_dir() else []
    named = [file for file in found if file.stem == path.name] or found
    if len(named) > 1:
        raise RasterError(f"{path} holds {len(named)} main XML files, such as {min(named).name}: unpack each product into its own folder, or name the "
                          "XML that is meant")
    if not named and _XML.fullmatch(f"{path.name}.xml") and path.is_dir():
        raise RasterError(f"{path} has no {path.name}.xml: it is no complete product; unpack the product again")
    return named[0].absolute() if named else None


def time_of(element: Element, path: str, where: Path) -> datetime:
    """The UTC time at a path. Raises RasterError."""
    text = text_of(element, path, where)
    seconds, _, fraction = text.rstrip("Zz").partition(".")
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction + '000000')[:6]}").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise RasterError(f"{where}: <{path}> is {text[:40]!r} and must be a time such as 2016-02-29T22:30:18.123456Z; {_AGAIN}") from error


def _in_the_middle(estimate: Element, where: Path) -> float | None:
    """A polynomial of range time at the middle of the range that it is for; None where its coefficients are not one for each exponent."""
    low, high, origin = (number_of(estimate, name, where) for name in ("validityRangeMin", "validityRangeMax", "referencePoint"))
    coefficients = {item.get("exponent", ""): number_of(item, ".", where) for item in estimate.iterfind("coefficient")}
    powers = {int(power): value for power, value in coefficients.items() if power.isdecimal() and len(power) < 3}
    if not 1 <= len(powers) == len(estimate.findall("coefficient")) <= _MOST_COEFFICIENTS:
        return None
    middle = (low + high) / 2 - origin
    return sum(value * middle ** power for power, value in powers.items())
