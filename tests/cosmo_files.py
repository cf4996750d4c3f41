"""Small COSMO-SkyMed products with the group, dataset and attribute names of real ones, written by h5py; numbers of our own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROWS, COLS, SPACING_M = 61, 83, 2.5
LAT, LON, HEIGHT = 55.8, 12.9, 40.0
LEFT, TOP = 369000.0, 6188000.0
CENTRE_LAT, CENTRE_LON = 55.8191264, 12.9107966         # of the image on the map
METRES_A_DEGREE = 6371008.8 * math.pi / 180
ROOT = {
    "Mission ID": "CSK", "Satellite ID": "CSKS1", "Acquisition Mode": "HIMAGE", "Orbit Direction": "DESCENDING", "Look Side": "RIGHT",
    "Range Spreading Loss Compensation Geometry": "ELLIPSOID", "Incidence Angle Compensation Geometry": "ELLIPSOID",
    "Range Antenna Pattern Compensation Geometry": "ELLIPSOID", "Ellipsoid Designator": "WGS84",
    "Calibration Constant Compensation Flag": np.uint8(0), "Reference Slant Range": 8e5, "Reference Slant Range Exponent": 0.5,
    "Reference Incidence Angle": 45.0, "Rescaling Factor": 1.25}
ON_A_MAP = {
    "Projection ID": "UTM", "Map Projection Centre": np.array([0.0, 15.0]), "Map Projection Scale Factor": 0.9996,
    "Map Projection False East-North": np.array([500000.0, 0.0]), "Scene Centre Geodetic Coordinates": np.array([CENTRE_LAT, CENTRE_LON, HEIGHT])}
CONSTANTS = {"HH": 2.5e10, "VV": 3.1e10, "HV": 2.7e10}


def amplitude(seed: int) -> np.ndarray:
    """With zeros, some of them in a border, and the largest number."""
    values = np.random.default_rng(seed).integers(1, 3000, (ROWS, COLS)).astype(np.uint16)
    values[:, :3] = 0
    values[7, 20 + seed] = 0
    values[9, 9] = 65535
    return values


@dataclass
class MadeUp:
    """A product; `write` gives its file, `by_hand` what a reader must make of it."""

    kind: str = "DGM_B"
    polarisations: tuple[str, ...] = ("HH",)
    mosaic: bool = False                                            # one image of three beams (ScanSAR)
    root: Mapping[str, Any] = field(default_factory=dict)           # other attributes; None takes one away
    image: Mapping[str, Any] = field(default_factory=dict)          # of the images
    chunks: tuple[int, int] | None = (16, 32)

    def write(self, path: Path) -> Path:
        import h5py
        with h5py.File(path, "w") as file:
            map_words = ON_A_MAP if self.on_a_map() else {"Projection ID": "GROUND RANGE/AZIMUTH"}
            state(file, {**ROOT, **map_words, "Product Type": self.kind, **self.root})
            for beam, name in enumerate(self.polarisations * (3 if self.mosaic else 1), 1):
                group = file.create_group(f"S{beam:02d}")
                state(group, {"Polarisation": name, "Calibration Constant": CONSTANTS[name]})
                group["QLK"] = np.zeros((6, 8), np.uint8)
                if not self.mosaic:
                    self._add(group, "SBI", beam)
            if self.mosaic:
                self._add(file, "MBI", 1)
        return path

    def _add(self, group: Any, name: str, seed: int) -> None:
        packing = {"chunks": self.chunks, "compression": "gzip", "shuffle": True} if self.chunks else {}
        state(group.create_dataset(name, data=amplitude(seed), **packing), {**self.place(), **self.image})

    def on_a_map(self) -> bool:
        return self.kind in ("GEC_B", "GTC_B")

    def place(self) -> dict[str, Any]:
        """Attributes of an image: its spacing, and its corners on a grid that is turned by ten degrees, or on the map."""
        words: dict[str, Any] = {"Line Spacing": SPACING_M, "Column Spacing": SPACING_M}
        if self.on_a_map():
            return {**words, "Top Left East-North": np.array([LEFT, TOP])}
        return {**words, **{f"{name} Geodetic Coordinates": np.array([*lat_lon(row, col), HEIGHT]) for name, row, col in (
            ("Top Left", 0, 0), ("Top Right", 0, COLS), ("Bottom Left", ROWS, 0), ("Bottom Right", ROWS, COLS))}}

    def by_hand(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Pixel by pixel in float64: power (bands, rows, cols) and validity."""
        said = {**ROOT, **self.root}
        values, valid = np.empty((len(names), ROWS, COLS)), np.ones((ROWS, COLS), bool)
        for band, name in enumerate(names):
            stored = amplitude(1 if self.mosaic else self.polarisations.index(name) + 1)
            factor = said["Reference Slant Range"] ** (2 * said["Reference Slant Range Exponent"]) * math.sin(math.radians(said["Reference Incidence Angle"]))
            factor /= said["Rescaling Factor"] ** 2 * (1.0 if said["Calibration Constant Compensation Flag"] else CONSTANTS[name])
            for row, col in np.ndindex(ROWS, COLS):
                values[band, row, col] = float(stored[row, col]) ** 2 * factor
                valid[row, col] &= stored[row, col] != 0
        return values, valid


def state(item: Any, words: Mapping[str, Any]) -> None:
    """Attributes as products hold them: texts of fixed length."""
    for name, value in words.items():
        if value is not None:
            item.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def lat_lon(row: float, col: float) -> tuple[float, float]:
    """Of a place in the image, its columns going to the west and a little north, as of a descending pass that looks to the right."""
    turn = math.radians(10)
    east, north = (-col * math.cos(turn) - row * math.sin(turn)) * SPACING_M, (col * math.sin(turn) - row * math.cos(turn)) * SPACING_M
    return LAT + north / METRES_A_DEGREE, LON + east / METRES_A_DEGREE / math.cos(math.radians(LAT))
