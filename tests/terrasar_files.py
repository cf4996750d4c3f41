"""Made-up TerraSAR-X, TanDEM-X and PAZ products: the folders and the element names of real ones, tiny images, numbers of our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rasterio.warp import transform

from tests.rasters import UTM, write_tif

CRS = "EPSG:32633"
START, T0, TAU0 = "2016-02-29T22:30:18.000000Z", 0.75, 4.4e-3       # the grids count from START + T0 and from TAU0


@dataclass
class MadeUp:
    """A product; change what a test is about."""

    variant: str = "MGD"
    satellite: str = "TSX1"
    rows: int = 61
    cols: int = 83
    pols: tuple[str, ...] = ("HH", "VV")
    sample: str = "DETECTED"
    pixel_value: str = "RADAR BRIGHTNESS"
    start: str = START
    backwards: tuple[bool, bool] = (False, False)       # azimuth against the rows, range against the columns: passes differ in it
    beyond: tuple[int, int] = (12, 15)                  # pixels that GEOREF reaches beyond the image
    factors: dict[str, float] = field(default_factory=lambda: {"HH": 1.1e-5, "VV": 1.3e-5})
    node_px: tuple[int, int] = (7, 9)                    # of the mapping grid
    along: bool = False                                  # rowSpacing is along the rows, as some readers take it, not from row to row
    angle: Callable[[float, float], float] = lambda row, col: 30 + 0.05 * col + 0.002 * row      # degrees, of a pixel
    dn: dict[str, np.ndarray] = field(default_factory=dict)
    gim: np.ndarray | None = None                        # (rows, cols) uint16 of local incidence, of an EEC

    def __post_init__(self) -> None:
        rng = np.random.default_rng(11)
        for pol in self.pols:
            self.dn.setdefault(pol, rng.integers(0, 900, (self.rows, self.cols)).astype(np.uint16))

    @property
    def name(self) -> str:
        return f"{self.satellite}_SAR__{self.variant}_SE___SM_D_SRA_20160229T223018_20160229T223023"

    def image(self, pol: str) -> str:
        return f"IMAGEDATA/IMAGE_{pol}_SRA_strip_007.tif"

    def write(self, folder: Path) -> Path:
        """The product's folder, under `folder`."""
        product = folder / self.name
        for each in ("IMAGEDATA", "ANNOTATION", "AUXRASTER"):
            (product / each).mkdir(parents=True, exist_ok=True)
        place = {} if self.variant == "MGD" else {"transform": UTM, "crs": CRS}
        for pol in self.pols:
            write_tif(product / self.image(pol), self.dn[pol][np.newaxis], **place)
        if self.gim is not None:
            write_tif(product / "AUXRASTER" / "GIM.tif", self.gim[np.newaxis], **place)
        (product / "ANNOTATION" / "GEOREF.xml").write_text(self.georef_xml())
        self.nodes().astype(">f4").tofile(product / "AUXRASTER" / "MAPPING_GRID.bin")
        (product / f"{self.name}.xml").write_text(self.product_xml())
        return product

    def times(self, row: float, col: float) -> tuple[float, float]:
        """(t, tau) of a pixel, as the grids count them; t is a step of a millisecond, tau of a nanosecond."""
        t = (self.rows - 1 - row if self.backwards[0] else row) * 1e-3 - 0.5
        tau = (self.cols - 1 - col if self.backwards[1] else col) * 1e-9
        return t, tau

    def node_places(self) -> tuple[list[int], list[int]]:
        return tuple([k * step for k in range(math.ceil((n - 1) / step) + 1)] for n, step in zip((self.rows, self.cols), self.node_px))

    def nodes(self) -> np.ndarray:
        rows, cols = self.node_places()
        return np.array([[self.times(row, col) for col in cols] for row in rows])

    def georef_pixels(self) -> list[list[tuple[float, float]]]:
        """Pixels at which GEOREF has its points, in its order: rising times, a little beyond the image."""
        rows, cols = (np.linspace(-self.beyond[k], n - 1 + self.beyond[k], points).tolist() for k, (n, points) in enumerate(((self.rows, 6), (self.cols, 8))))
        return [[(row, col) for col in (reversed(cols) if self.backwards[1] else cols)] for row in (reversed(rows) if self.backwards[0] else rows)]

    def lon_lat(self, row: float, col: float) -> tuple[float, float]:
        lon, lat = transform(CRS, "EPSG:4326", [UTM.c + UTM.a * col], [UTM.f + UTM.e * row])
        return lon[0], lat[0]

    def georef_xml(self) -> str:
        points = self.georef_pixels()
        text = "".join(
            f'<gridPoint iaz="{i}" irg="{j}"><t>{self.times(*pixel)[0] - 0.25!r}</t><tau>{self.times(*pixel)[1] + 2e-6!r}</tau>'
            f"<lat>{self.lon_lat(*pixel)[1]!r}</lat><lon>{self.lon_lat(*pixel)[0]!r}</lon><inc>{self.angle(*pixel)!r}</inc>"
            f"<elev>28.0</elev><height>{100 + pixel[0]!r}</height></gridPoint>"
            for i, line in enumerate(points, 1) for j, pixel in enumerate(line, 1))
        return (f"<geoReference><geolocationGrid><numberOfGridPoints><total>{len(points) * len(points[0])}</total><azimuth>{len(points)}</azimuth>"
                f"<range>{len(points[0])}</range></numberOfGridPoints><gridReferenceTime><tReferenceTimeUTC>2016-02-29T22:30:19.000000Z</tReferenceTimeUTC>"
                f"<tauReferenceTime>{TAU0 - 2e-6!r}</tauReferenceTime></gridReferenceTime>{text}</geolocationGrid></geoReference>")

    def product_xml(self) -> str:
        def file(place: str) -> str:
            path, name = place.split("/")
            return f"<file><location><host>.</host><path>{path}</path><filename>{name}</filename></location><size>1</size></file>"

        rows, cols = (len(places) for places in self.node_places())
        steps = self.node_px[::-1] if self.along else self.node_px
        raster = (f'<numberOfRows>{self.rows}</numberOfRows><numberOfColumns>{self.cols}</numberOfColumns><rowSpacing units="m">2.5</rowSpacing>'
                  "<columnSpacing>2.75</columnSpacing>")
        images = "".join(f'<imageData layerIndex="{k}"><polLayer>{pol}</polLayer>{file(self.image(pol))}</imageData>' for k, pol in enumerate(self.pols, 1))
        noise = "".join(
            f'<noise layerIndex="{k}"><polLayer>{pol}</polLayer><numberOfNoiseRecords>2</numberOfNoiseRecords>' + "".join(
                f"<imageNoise><timeUTC>{START}</timeUTC><noiseEstimateConfidence>1.0</noiseEstimateConfidence><noiseEstimate>"
                f"<validityRangeMin>4.0E-3</validityRangeMin><validityRangeMax>5.0E-3</validityRangeMax>"
                f"<referencePoint>4.4E-3</referencePoint><polynomialDegree>1</polynomialDegree>"
                f'<coefficient exponent="0">{level}</coefficient><coefficient exponent="1">1.0E5</coefficient></noiseEstimate>'
                f'</imageNoise>' for level in (390.0, 590.0))
            + "</noise>" for k, pol in enumerate(self.pols, 1))
        factors = "".join(f'<calibrationConstant layerIndex="{k}"><polLayer>{pol}</polLayer><calFactor>{value!r}</calFactor></calibrationConstant>'
                          for k, (pol, value) in enumerate(self.factors.items(), 1))
        mapping = (f"<projectedImageInfo><mappingGridInfo><imageRaster><numberOfRows>{rows}</numberOfRows><numberOfColumns>{cols}</numberOfColumns>"
                   f"<rowSpacing>{2.5 * steps[0]}</rowSpacing><columnSpacing>{2.75 * steps[1]}</columnSpacing></imageRaster>"
                   f"<gridReferenceTime><tReferenceTimeUTC>2016-02-29T22:30:18.75Z</tReferenceTimeUTC><tauReferenceTime>{TAU0!r}"
                   f"</tauReferenceTime></gridReferenceTime></mappingGridInfo></projectedImageInfo>")
        return (f'<level1Product xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><productComponents><annotation><type>GEOREF'
                f'</type>{file("ANNOTATION/GEOREF.xml")}'
                f'</annotation>{images}<auxRasterFiles><type>MAPPING_GRID</type>{file("AUXRASTER/MAPPING_GRID.bin")}</auxRasterFiles>'
                f'</productComponents><productInfo>'
                "<missionInfo><mission>TSX-1</mission><orbitDirection>DESCENDING</orbitDirection></missionInfo><acquisitionInfo><imagingMode>SM</imagingMode>"
                f"<lookDirection>RIGHT</lookDirection></acquisitionInfo><productVariantInfo><productVariant>{self.variant}</productVariant>"
                f"</productVariantInfo>"
                f"<imageDataInfo><pixelValueID>{self.pixel_value}</pixelValueID><imageDataType>{self.sample}</imageDataType><imageRaster>{raster}"
                f"</imageRaster></imageDataInfo>"
                f"<sceneInfo><start><timeUTC>{self.start}</timeUTC></start><stop><timeUTC>2016-02-29T22:30:23Z</timeUTC></stop><rangeTime>"
                f"<firstPixel>{TAU0!r}</firstPixel><lastPixel>"
                f"{TAU0 + (self.cols - 1) * 1e-9!r}</lastPixel></rangeTime><sceneCenterCoord><incidenceAngle>"
                f"{self.angle(self.rows / 2, self.cols / 2):.6f}</incidenceAngle></sceneCenterCoord></sceneInfo></productInfo>"
                f"<productSpecific>{mapping}</productSpecific>"
                f"<calibration>{factors}</calibration>{noise}</level1Product>")

    def by_hand(self, pols: tuple[str, ...], quantity: str = "sigma0") -> tuple[np.ndarray, np.ndarray]:
        """Power (bands, rows, cols) and validity, pixel by pixel in float64, from the angle of the pixel itself."""
        power, valid = np.empty((len(pols), self.rows, self.cols)), np.ones((self.rows, self.cols), bool)
        share = {"sigma0": math.sin, "gamma0": math.tan, "beta0": lambda angle: 1.0}[quantity]
        for row in range(self.rows):
            for col in range(self.cols):
                for k, pol in enumerate(pols):
                    power[k, row, col] = self.factors[pol] * float(self.dn[pol][row, col]) ** 2 * share(math.radians(self.angle(row, col)))
                    valid[row, col] &= self.dn[pol][row, col] != 0
        return power, valid
