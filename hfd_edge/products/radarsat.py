"""What a RADARSAT-2 or RADARSAT Constellation (RCM) product says: its product.xml and the tables that it names, of detected images in ground range."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from rasterio.control import GroundControlPoint

from hfd_edge.errors import RadiometryError, RasterError
from hfd_edge.products.inside import named_file
from hfd_edge.products.safe import MANIFEST
from hfd_edge.raster.xml_file import number_of, numbers_of, plain_name, read_xml, text_of, whole_number_of

PRODUCT = "product.xml"
TABLES = {"sigma0": "Sigma Nought", "gamma0": "Gamma", "beta0": "Beta Nought"}
_AGAIN = "copy or download the product again"
_MOST_PIXELS_PER_SIDE = 1 << 20
_MOST_CONTROL_POINTS = 100_000
_KIND = "imageGenerationParameters/generalProcessingInformation/productType"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one mission's product.xml says what."""

    mission: str
    detected: tuple[str, ...]           # product types that are read
    rows: str
    cols: str
    raster: str                         # rasterAttributes
    sample: str                         # under `raster`: "Magnitude Detected"
    images: str
    tables: str
    quantity: str                       # attribute of `tables`
    folder: str                         # of the tables, beside product.xml
    points: str


_LAYOUTS = {
    "rs2": Layout("RADARSAT-2", ("SGF", "SGX", "SCN", "SCW", "SCF", "SCS"), "imageAttributes/rasterAttributes/numberOfLines",
                  "imageAttributes/rasterAttributes/numberOfSamplesPerLine", "imageAttributes/rasterAttributes", "dataType",
                  "imageAttributes/fullResolutionImageData", "imageAttributes/lookupTable", "incidenceAngleCorrection", ".",
                  "imageAttributes/geographicInformation/geolocationGrid/imageTiePoint"),
    "rcm": Layout("RCM", ("GRD",), "sceneAttributes/imageAttributes/numLines", "sceneAttributes/imageAttributes/samplesPerLine",
                  "imageReferenceAttributes/rasterAttributes", "sampleType", "sceneAttributes/imageAttributes/ipdf",
                  "imageReferenceAttributes/lookupTableFileName", "sarCalibrationType", "calibration",
                  "imageReferenceAttributes/geographicInformation/geolocationGrid/imageTiePoint")}


@dataclass(frozen=True, slots=True)
class Table:
    """power = (DN^2 + offset) / gains, one gain a column."""

    file: Path
    offset: float
    gains: np.ndarray                   # (cols,) float64, above 0


class Radarsat:
    """A product.xml, checked; `images` are the files by polarisation."""

    def __init__(self, where: Path) -> None:
        """Raises RasterError: damaged, of another kind, or a file that it names lies outside the product's folder or is missing."""
        self.xml = where
        self.folder = folder_of(where)
        self._root = _plain(read_xml(where, "product"), where)
        self.layout = layout = _LAYOUTS[self._root.attrib["mission"]]
        self.kind = text_of(self._root, _KIND, where)
        sample = text_of(self._root, f"{layout.raster}/{layout.sample}", where)
        if self.kind not in layout.detected or not sample.startswith("Magnitude"):
            raise RasterError(f"{where} describes a {layout.mission} product of type {self.kind} ({sample}): only detected images in ground range "
                              f"({', '.join(layout.detected)}) are read; order one of these, or calibrate it in SNAP and give the raster with --unit")
        self.rows, self.cols = (whole_number_of(self._root, path, where) for path in (layout.rows, layout.cols))
        self.spacing_m = tuple(number_of(self._root, f"{layout.raster}/{name}", where) for name in ("sampledLineSpacing", "sampledPixelSpacing"))
        if not (1 <= self.rows <= _MOST_PIXELS_PER_SIDE and 1 <= self.cols <= _MOST_PIXELS_PER_SIDE and min(self.spacing_m) > 0):
            raise RasterError(f"{where} claims {self.rows} x {self.cols} pixels of {self.spacing_m[0]:g} x {self.spacing_m[1]:g} m: no image has; {_AGAIN}")
        self.images: dict[str, Path] = {}
        for item in self._root.iterfind(layout.images):
            name = item.get("pole", "").upper()
            if name in self.images:
                raise RasterError(f"{where} names several images of {name or 'no polarisation'}: products of several beams are not read; take one image")
            self.images[name] = self._file(".", item)
        if not self.images:
            raise RasterError(f"{where} names no <{layout.images}>: {_AGAIN}")

    def said(self, path: str) -> str:
        """A text of product.xml that not every product has."""
        return " ".join(self._root.findtext(path, "").split())[:60].lower() or "not stated"

    def noise_removed(self) -> bool:
        """Whether the processor took it from the pixels."""
        return self.said("imageGenerationParameters/sarProcessingInformation/noiseSubtractionPerformed") == "true"

    def table(self, polarisation: str, quantity: str) -> Table:
        """The calibration of one polarisation to a quantity of TABLES. Raises RasterError or RadiometryError."""
        layout, wanted = self.layout, TABLES[quantity]
        found = [item for item in self._root.iterfind(layout.tables)
                 if item.get(layout.quantity) == wanted and item.get("pole", polarisation).upper() == polarisation]
        if len(found) != 1:
            there = sorted({item.get(layout.quantity, "?") for item in self._root.iterfind(layout.tables)})
            raise RadiometryError(f"{self.xml} names {len(found)} tables of {wanted!r} for {polarisation}: one is needed to calibrate it to {quantity} (it "
                                  f"has {', '.join(there) or 'none'}); order it with its calibration tables")
        file = self._file(layout.folder, found[0])
        root = _plain(read_xml(file, "lut"), file)
        offset, gains = number_of(root, "offset", file), numbers_of(root, "gains", file)
        if gains.min() <= 0:
            raise RadiometryError(f"{file} holds the gain {gains.min():g}: a calibration table must be above 0 everywhere; {_AGAIN}")
        return Table(file, offset, self._for_columns(root, gains, file))

    def _for_columns(self, root: Element, gains: np.ndarray, file: Path) -> np.ndarray:
        """A gain for each column: RADARSAT-2 states them all, RCM every so many-th from either side, linear between them."""
        if root.find("stepSize") is None:
            if gains.size != self.cols:
                raise RasterError(f"{file} holds {gains.size} gains and the image {self.cols} columns: they do not belong together; {_AGAIN}")
            return gains
        first, step, count = (whole_number_of(root, name, file) for name in ("pixelFirstLutValue", "stepSize", "numberOfValues"))
        at = first + step * np.arange(gains.size)
        if step == 0 or count != gains.size or at.min() > abs(step) or at.max() < self.cols - 1 - abs(step):
            raise RasterError(f"{file} holds {gains.size} gains ({count} stated) from column {first} in steps of {step}: they must cover the {self.cols} "
                              f"columns of the image; {_AGAIN}")
        order = np.argsort(at)
        return np.interp(np.arange(self.cols), at[order], gains[order])

    def control_points(self) -> tuple[GroundControlPoint, ...]:
        """The geolocation grid. It counts the middle of the first pixel as 0, a raster its corner."""
        points = self._root.findall(self.layout.points)
        if not 4 <= len(points) <= _MOST_CONTROL_POINTS:
            raise RasterError(f"{self.xml} has {len(points)} tie points: 4 to {_MOST_CONTROL_POINTS} place a map; {_AGAIN}")
        names = ("imageCoordinate/line", "imageCoordinate/pixel", "geodeticCoordinate/longitude", "geodeticCoordinate/latitude",
                 "geodeticCoordinate/height")
        places = ([number_of(point, name, self.xml) for name in names] for point in points)
        return tuple(GroundControlPoint(line + 0.5, pixel + 0.5, *place, id=str(number)) for number, (line, pixel, *place) in enumerate(places, 1))

    def _file(self, folder: str, item: Element) -> Path:
        return named_file(self.xml, self.folder, item.text or "", folder)


def radarsat_xml(path: object) -> Path | None:
    """The product.xml that a path names: it itself, its folder, the folder above its `metadata` or the manifest there; None if none."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        return None
    path = Path(path)
    if path.name == PRODUCT and path.is_file():
        return path.absolute()
    path = path.parent if path.name == MANIFEST else path
    found = next((file for file in (path / PRODUCT, path / "metadata" / PRODUCT) if path.is_dir() and file.is_file()), None)
    return found.absolute() if found is not None else None


def folder_of(xml: Path) -> Path:
    """The product's folder, of its product.xml."""
    return xml.parent.parent if xml.parent.name == "metadata" else xml.parent


def _plain(root: Element, where: Path) -> Element:
    """The tree with names without namespaces; a product's mission is kept as its attribute."""
    space = root.tag.partition("}")[0].lower()
    mission = next((mission for mission in _LAYOUTS if mission in space), None)
    for element in root.iter():
        element.tag = plain_name(element)
    if root.tag == "product":
        if mission is None:
            raise RasterError(f"{where} is a product.xml of neither RADARSAT-2 nor RCM (namespace {space[1:60]!r}): give the raster itself with --unit")
        root.set("mission", mission)
    return root
