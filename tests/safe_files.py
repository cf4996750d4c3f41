"""Made-up Sentinel-1 SAFE folders: the layout and the element names of real ones, tiny images, numbers of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from tests.rasters import write_tif

STEM = "s1a-iw-grd-{pol}-20210401t052623-20210401t052648-026269-032297-{number:03d}"
TABLES = ("sigmaNought", "betaNought", "gamma", "dn")


@dataclass
class MadeUp:
    """A product; change what a test is about. Tables are {name: (lines, pixels, values (lines, pixels))}."""

    rows: int = 61
    cols: int = 83
    pols: tuple[str, ...] = ("VV", "VH")
    ipf: str = "003.31"
    mode: str = "IW"
    old_noise: bool = False
    noise_removed: bool = False
    spacing: float = 10.0
    constant: float = 1.0
    seed: int = 0
    dn: dict[str, np.ndarray] = field(default_factory=dict)
    calibration: dict[str, tuple] = field(default_factory=dict)
    noise: dict[str, tuple] = field(default_factory=dict)
    blocks: list[tuple] = field(default_factory=list)       # (first line, last line, first pixel, last pixel, lines, values)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        lines, pixels = np.array([-17, 0, 23, 59, 90]), np.array([0, 20, 40, 61, self.cols - 1])
        for k, pol in enumerate(self.pols):
            self.dn.setdefault(pol, rng.integers(1, 400, (self.rows, self.cols)).astype(np.uint16))
            self.calibration.setdefault(pol, {name: (lines, pixels, 400 + 50 * i + 200 * k + 90 * rng.random((5, 5)))
                                              for i, name in enumerate(TABLES)})
            table = (np.array([0, 30, 55]), np.array([0, 33, self.cols - 1]), 300 + 400 * rng.random((3, 3)))
            self.noise.setdefault(pol, table)
        if not self.blocks and not self.old_noise:
            self.blocks = [(0, 29, 0, 40, [0, 14, 29], [1.0, 1.3, 0.8]), (30, self.rows - 1, 0, 40, [30, 45], [0.9, 1.1]),
                           (0, self.rows - 1, 41, self.cols - 1, [10, 50], [1.2, 0.7])]

    def stem(self, pol: str) -> str:
        return STEM.format(pol=pol.lower(), number=self.pols.index(pol) + 1)

    def write(self, folder: Path) -> Path:
        """The .SAFE folder, under `folder`."""
        safe = folder / "S1A_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE"
        (safe / "annotation" / "calibration").mkdir(parents=True)
        (safe / "measurement").mkdir()
        for pol in self.pols:
            stem = self.stem(pol)
            (safe / f"annotation/{stem}.xml").write_text(self.product_xml(pol))
            (safe / f"annotation/calibration/calibration-{stem}.xml").write_text(self.calibration_xml(pol))
            (safe / f"annotation/calibration/noise-{stem}.xml").write_text(self.noise_xml(pol))
            points = [rasterio.control.GroundControlPoint(r, c, 9 + c * 1e-4, 46 - r * 1e-4, 120.0) for r, c in self.grid()]
            write_tif(safe / f"measurement/{stem}.tiff", self.dn[pol][np.newaxis], gcps=points)
        (safe / "manifest.safe").write_text(self.manifest())
        return safe

    def grid(self) -> list[tuple[int, int]]:
        return [(r, c) for r in (0, self.rows // 2, self.rows - 1) for c in (0, self.cols // 2, self.cols - 1)]

    def places(self) -> list[tuple[float, float]]:
        """Where the grid's samples lie as rows and columns from the raster's corner: in the middle of their pixels."""
        return [(line + 0.5, pixel + 0.5) for line, pixel in self.grid()]

    def manifest(self) -> str:
        kinds = (("product", "s1Level1ProductSchema", "annotation/{}.xml"),
                 ("noise", "s1Level1NoiseSchema", "annotation/calibration/noise-{}.xml"),
                 ("calibration", "s1Level1CalibrationSchema", "annotation/calibration/calibration-{}.xml"),
                 ("", "s1Level1MeasurementSchema", "measurement/{}.tiff"))
        objects = "".join(
            f'<dataObject ID="{kind}{self.stem(pol).replace("-", "")}" repID="{schema}"><byteStream mimeType="text/xml" '
            f'size="1"><fileLocation locatorType="URL" href="./{path.format(self.stem(pol))}"/><checksum checksumName="MD5">0'
            "</checksum></byteStream></dataObject>" for pol in self.pols for kind, schema, path in kinds)
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" '
                'xmlns:safe="http://www.esa.int/safe/sentinel-1.0"><metadataSection><metadataObject ID="processing">'
                '<metadataWrap><xmlData><safe:processing name="GRD Post Processing"><safe:facility>'
                f'<safe:software name="Sentinel-1 IPF" version="{self.ipf}"/></safe:facility></safe:processing></xmlData>'
                f"</metadataWrap></metadataObject></metadataSection><dataObjectSection>{objects}</dataObjectSection></xfdu:XFDU>")

    def header(self, pol: str) -> str:
        return (f"<adsHeader><missionId>S1A</missionId><productType>GRD</productType><polarisation>{pol}</polarisation>"
                f"<mode>{self.mode}</mode><swath>{self.mode}</swath></adsHeader>")

    def product_xml(self, pol: str) -> str:
        points = "".join(
            f"<geolocationGridPoint><azimuthTime>2021-04-01T05:26:23.794457</azimuthTime><line>{r}</line><pixel>{c}</pixel>"
            f"<latitude>{46 - r * 1e-4:.15e}</latitude><longitude>{9 + c * 1e-4:.15e}</longitude><height>1.2e+02</height>"
            "<incidenceAngle>3.9e+01</incidenceAngle></geolocationGridPoint>" for r, c in self.grid())
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<product>{self.header(pol)}<generalAnnotation><productInformation>'
                "<pass>Descending</pass></productInformation></generalAnnotation><imageAnnotation><imageInformation>"
                f"<pixelValue>Detected</pixelValue><rangePixelSpacing>{self.spacing:e}</rangePixelSpacing><azimuthPixelSpacing>"
                f"{self.spacing:e}</azimuthPixelSpacing><numberOfSamples>{self.cols}</numberOfSamples>"
                f"<numberOfLines>{self.rows}</numberOfLines></imageInformation><processingInformation><thermalNoiseCorrectionPerformed>"
                f"{str(self.noise_removed).lower()}</thermalNoiseCorrectionPerformed></processingInformation></imageAnnotation>"
                f'<geolocationGrid><geolocationGridPointList count="9">{points}</geolocationGridPointList></geolocationGrid>'
                "</product>")

    def calibration_xml(self, pol: str) -> str:
        tables = self.calibration[pol]
        lines, pixels, _ = tables["sigmaNought"]
        vectors = "".join(
            f"<calibrationVector><azimuthTime>2021-04-01T05:26:23.794457</azimuthTime><line>{line}</line>"
            + _list("pixel", pixels) + "".join(_list(name, tables[name][2][i]) for name in TABLES) + "</calibrationVector>"
            for i, line in enumerate(lines))
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<calibration>{self.header(pol)}<calibrationInformation>'
                f"<absoluteCalibrationConstant>{self.constant:e}</absoluteCalibrationConstant></calibrationInformation>"
                f'<calibrationVectorList count="{len(lines)}">{vectors}</calibrationVectorList></calibration>')

    def noise_xml(self, pol: str) -> str:
        lines, pixels, values = self.noise[pol]
        outer, inner, table = (("noiseVectorList", "noiseVector", "noiseLut") if self.old_noise else
                               ("noiseRangeVectorList", "noiseRangeVector", "noiseRangeLut"))
        vectors = "".join(f"<{inner}><azimuthTime>2021-04-01T05:26:23.794457</azimuthTime><line>{line}</line>"
                          f"{_list('pixel', pixels)}{_list(table, values[i])}</{inner}>" for i, line in enumerate(lines))
        blocks = "".join(
            f"<noiseAzimuthVector><swath>IW1</swath><firstAzimuthLine>{b[0]}</firstAzimuthLine><firstRangeSample>{b[2]}"
            f"</firstRangeSample><lastAzimuthLine>{b[1]}</lastAzimuthLine><lastRangeSample>{b[3]}</lastRangeSample>"
            f"{_list('line', b[4])}{_list('noiseAzimuthLut', b[5])}</noiseAzimuthVector>" for b in self.blocks)
        azimuth = f"<noiseAzimuthVectorList>{blocks}</noiseAzimuthVectorList>" if blocks else ""
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<noise>{self.header(pol)}<{outer}>{vectors}</{outer}>{azimuth}</noise>'

    def power(self, pol: str, table: str = "sigmaNought") -> np.ndarray:
        """The reference: (rows, cols) float64, pixel by pixel as the formula says."""
        power = np.empty((self.rows, self.cols))
        for r in range(self.rows):
            for c in range(self.cols):
                noise = 0.0 if self.noise_removed else self.noise_at(pol, r, c)
                gain = bilinear(*self.calibration[pol][table], r, c) ** 2
                power[r, c] = max(float(self.dn[pol][r, c]) ** 2 - noise, 0.0) / gain
        return power

    def noise_at(self, pol: str, r: int, c: int) -> float:
        """Noise power in DN^2 of one pixel."""
        factor = 1.0
        for first, last, left, right, lines, values in self.blocks:
            if first <= r <= last and left <= c <= right:
                factor = linear(lines, values, r)
        return bilinear(*self.noise[pol], r, c) * factor


def linear(xs, ys, x: float) -> float:
    """Linear between points, the outermost beyond."""
    if x <= xs[0]:
        return float(ys[0])
    for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:]):
        if x <= x1:
            return float(y0 * (x1 - x) / (x1 - x0) + y1 * (x - x0) / (x1 - x0))
    return float(ys[-1])


def bilinear(lines, pixels, values, r: float, c: float) -> float:
    return linear(lines, [linear(pixels, row, c) for row in values], r)


def _list(name: str, values) -> str:
    return f'<{name} count="{len(values)}">{" ".join(f"{v:.17g}" for v in values)}</{name}>'
