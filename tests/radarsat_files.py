"""Made-up RADARSAT-2 and RCM products: the folders and the element names of real ones, tiny images, numbers of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.rasters import write_tif

QUANTITIES = {"Sigma": "Sigma Nought", "Beta": "Beta Nought", "Gamma": "Gamma"}


@dataclass
class MadeUp:
    """A product; change what a test is about. `gains` are those of the columns of the tables, by the first word of the quantity."""

    rcm: bool = False
    rows: int = 57
    cols: int = 83
    pols: tuple[str, ...] = ("HH", "HV")
    kind: str | None = None
    sample: str = "Magnitude Detected"
    offset: float = 12.5
    step: int = 1                       # of RCM's tables; negative: from the last column backwards
    dn: dict[str, np.ndarray] = field(default_factory=dict)
    gains: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        self.kind = self.kind or ("GRD" if self.rcm else "SGF")
        for pol in self.pols:
            self.dn.setdefault(pol, rng.integers(0, 900, (self.rows, self.cols)).astype(np.uint16))
        for k, name in enumerate(QUANTITIES):
            self.gains.setdefault(name, np.linspace(3e5, 9e5, self.columns().size) * (1 + k) + rng.uniform(0, 1e5, self.columns().size))

    def columns(self) -> np.ndarray:
        """Of the gains, in the order of the tables."""
        if not self.rcm:
            return np.arange(self.cols)
        return np.arange(0, self.cols, self.step) if self.step > 0 else np.arange(self.cols - 1, -1, self.step)

    def write(self, folder: Path) -> Path:
        """The product's folder, under `folder`."""
        product = folder / ("RCM1_OK1_made_up" if self.rcm else "RS2_OK1_made_up")
        xml, tables = (product / "metadata", product / "metadata" / "calibration") if self.rcm else (product, product)
        for each in (product, tables, product / "imagery" if self.rcm else product):
            each.mkdir(parents=True, exist_ok=True)
        for pol in self.pols:
            write_tif(product / self.image(pol).removeprefix("../"), self.dn[pol][np.newaxis])
        for name in QUANTITIES:
            for pol in (self.pols if self.rcm else ("",)):
                (tables / self.table(name, pol)).write_text(self.table_xml(name))
        if self.rcm:
            (product / "manifest.safe").write_text("<xfdu:XFDU xmlns:xfdu='urn:ccsds:schema:xfdu:1'/>")
        (xml / "product.xml").write_text(self.product_xml())
        return product

    def image(self, pol: str) -> str:
        return f"../imagery/RCM1_made_up_{pol}.tif" if self.rcm else f"imagery_{pol}.tif"

    def table(self, name: str, pol: str) -> str:
        return f"lut{name}{'_' if pol else ''}{pol}.xml"

    def table_xml(self, name: str) -> str:
        gains = " ".join(f"{gain:.9e}" for gain in self.gains[name])
        if not self.rcm:
            return f'<?xml version="1.0"?><lut xmlns="http://www.rsi.ca/rs2/prod/xml/schemas"><offset>{self.offset:e}</offset><gains>{gains}</gains></lut>'
        return (f'<lut xmlns="rcmGsProductSchema"><pixelFirstLutValue>{self.columns()[0]}</pixelFirstLutValue><stepSize>{self.step}</stepSize>'
                f"<numberOfValues>{self.columns().size}</numberOfValues><offset>{self.offset:e}</offset><gains>{gains}</gains></lut>")

    def points(self) -> str:
        return "<geographicInformation><geolocationGrid>" + "".join(
            f"<imageTiePoint><imageCoordinate><line>{line}</line><pixel>{pixel}</pixel></imageCoordinate><geodeticCoordinate><latitude>{60 - line * 1e-4}"
            f"</latitude><longitude>{-75 + pixel * 1e-4}</longitude><height>30.0</height></geodeticCoordinate></imageTiePoint>"
            for line in (0, self.rows - 1) for pixel in (0, self.cols // 2, self.cols - 1)) + "</geolocationGrid></geographicInformation>"

    def product_xml(self) -> str:
        source = ("<sourceAttributes><beamModeMnemonic>W2</beamModeMnemonic><radarParameters><antennaPointing>Right</antennaPointing></radarParameters>"
                  "<orbitAndAttitude><orbitInformation><passDirection>Descending</passDirection></orbitInformation></orbitAndAttitude></sourceAttributes>"
                  f"<imageGenerationParameters><generalProcessingInformation><productType>{self.kind}</productType></generalProcessingInformation>"
                  "</imageGenerationParameters>")
        spacing = "<sampledPixelSpacing>12.5</sampledPixelSpacing><sampledLineSpacing>10.0</sampledLineSpacing>"
        if not self.rcm:
            images = "".join(f'<fullResolutionImageData pole="{pol}">{self.image(pol)}</fullResolutionImageData>' for pol in self.pols)
            tables = "".join(f'<lookupTable incidenceAngleCorrection="{quantity}">{self.table(name, "")}</lookupTable>'
                             for name, quantity in QUANTITIES.items())
            return (f'<?xml version="1.0"?><product xmlns="http://www.rsi.ca/rs2/prod/xml/schemas">{source}<imageAttributes><rasterAttributes><dataType>'
                    f"{self.sample}</dataType><bitsPerSample>16</bitsPerSample><numberOfSamplesPerLine>{self.cols}</numberOfSamplesPerLine>"
                    f"<numberOfLines>{self.rows}</numberOfLines>{spacing}"
                    f"</rasterAttributes>{self.points()}{tables}{images}</imageAttributes></product>")
        images = "".join(f'<ipdf pole="{pol}">{self.image(pol)}</ipdf>' for pol in self.pols)
        tables = "".join(f'<lookupTableFileName sarCalibrationType="{quantity}" pole="{pol}">{self.table(name, pol)}</lookupTableFileName>'
                         for name, quantity in QUANTITIES.items() for pol in self.pols)
        return (f'<product xmlns="rcmGsProductSchema">{source}<imageReferenceAttributes><rasterAttributes><sampleType>{self.sample}</sampleType>{spacing}'
                f"</rasterAttributes>{tables}{self.points()}</imageReferenceAttributes><sceneAttributes><numberOfEntries>1</numberOfEntries><imageAttributes>"
                f"<samplesPerLine>{self.cols}</samplesPerLine><numLines>{self.rows}</numLines>{images}</imageAttributes></sceneAttributes></product>")

    def by_hand(self, pols: tuple[str, ...], name: str = "Sigma") -> tuple[np.ndarray, np.ndarray]:
        """Power (bands, rows, cols) and validity, pixel by pixel in float64."""
        at = dict(zip(self.columns().tolist(), self.gains[name].tolist()))
        power, valid = np.empty((len(pols), self.rows, self.cols)), np.ones((self.rows, self.cols), bool)
        for col in range(self.cols):                # linear between the columns of the table, the outermost beyond
            below, above = max((c for c in at if c <= col), default=min(at)), min((c for c in at if c >= col), default=max(at))
            gain = at[below] + ((at[above] - at[below]) * (col - below) / (above - below) if above > below else 0.0)
            for row in range(self.rows):
                for k, pol in enumerate(pols):
                    power[k, row, col] = (float(self.dn[pol][row, col]) ** 2 + self.offset) / gain
                    valid[row, col] &= self.dn[pol][row, col] != 0
        return power, valid
