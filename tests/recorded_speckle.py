"""Recorded calls of the speckle filters; the rest of recorded.py's file. tests/aarch64/replay_speckle.h reads the same."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

FILTERS = ["boxcar", "lee", "kuan", "enhanced_lee", "gamma_map", "frost", "refined_lee", "lee_sigma", "local_enl"]
BORDERS = ["mask", "nearest"]


@dataclass(frozen=True)
class SpeckleCase:
    """Arguments of one filter call."""

    name: int
    border: int
    radius: int
    image: np.ndarray
    mask: np.ndarray | None
    first: int
    count: int
    numbers: np.ndarray         # float64: looks, damping, low, high, noise2, bright of two bands

    @property
    def config(self) -> tuple:
        return FILTERS[self.name], BORDERS[self.border], self.radius, *self.numbers[:5].tolist()

    @property
    def bright(self) -> list[float]:
        return self.numbers[5:5 + len(self.image)].tolist()


def speckle_case(rng: np.random.Generator, values: np.ndarray) -> SpeckleCase:
    """One call; `values` are as wild as those of the other operations."""
    name, border, bands = int(rng.integers(0, 9)), int(rng.integers(0, 2)), int(rng.integers(1, 3))
    radius = 3 if FILTERS[name] == "refined_lee" else int(rng.integers(1, 8))
    rows = int(rng.integers(1, 40))
    cols = max(1, len(values) // (bands * rows))
    image = np.abs(np.resize(values, (bands, rows, cols)))
    first = int(rng.integers(0, rows))
    count, masked = int(rng.integers(1, rows - first + 1)), int(rng.integers(0, 2))
    mask = (rng.random((rows, cols)) < 0.9).astype(np.uint8) if masked else None
    numbers = np.float64([rng.choice([0.8, 1.0, 4.4, 16.0]), 2.0, 0.3, 2.2, 0.13, 0.9, 0.2])    # looks, damping, range, bright
    return SpeckleCase(name, border, radius, image, mask, first, count, numbers)


def calm_case(rng: np.random.Generator) -> SpeckleCase:
    """A call of several of a GPU's tiles, most of them well inside the image and all valid; speckle of one look, some pixels of no kind."""
    name, border, bands = int(rng.integers(0, 9)), int(rng.integers(0, 2)), int(rng.integers(1, 3))
    radius = 3 if FILTERS[name] == "refined_lee" else int(rng.integers(1, 8))
    rows, cols = int(rng.integers(60, 240)), int(rng.integers(60, 180))
    image = rng.exponential(0.1, (bands, rows, cols)).astype(np.float32)
    image[:, : rows // 8] = np.float32(0.25)                                        # flat: no variance
    holes = rng.integers(0, image.size, int(rng.choice([0, 0, 1, 3])))
    image.ravel()[holes] = rng.choice(np.float32([np.nan, np.inf, 2e16, 0.0, -1.0]), holes.size)
    mask = rng.integers(1, 4, (rows, cols), np.uint8) if rng.random() < 0.6 else None
    if mask is not None:
        mask.ravel()[rng.integers(0, mask.size, int(rng.choice([0, 0, 1, 3])))] = 0
    first = int(rng.choice([0, 1, radius, int(rng.integers(0, rows))]))
    numbers = np.float64([rng.choice([0.8, 1.0, 4.4, 16.0]), 2.0, 0.3, 2.2, 0.13, 0.3, 0.2])
    return SpeckleCase(name, border, radius, image, mask, first, int(rng.integers(1, rows - first + 1)), numbers)


def speckle_bytes(rng: np.random.Generator, values: np.ndarray) -> bytes:
    case = speckle_case(rng, values)
    head = struct.pack("<9q", case.name, case.border, case.radius, *case.image.shape, case.first, case.count, case.mask is not None)
    return head + case.numbers.tobytes() + case.image.tobytes() + (b"" if case.mask is None else case.mask.tobytes())


def run_speckle(reader: Any) -> bytes:
    from hfd_edge import _native
    name, border, radius, bands, rows, cols, first, count, masked = reader.take("<i8", 9).tolist()
    looks, damping, low, high, noise2, *bright = reader.take("<f8", 7).tolist()
    image = reader.take("<f4", bands * rows * cols).reshape(bands, rows, cols).copy()
    mask = reader.take("u1", rows * cols).reshape(rows, cols).copy() if masked else None
    out = np.empty((bands, count, cols), np.float32)
    _native.Speckle(FILTERS[name], BORDERS[border], radius, looks, damping, low, high, noise2).run(
        image, mask, bright[:bands], first, out, 2)
    return out.tobytes()
