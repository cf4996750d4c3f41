"""Speckle filters on linear intensity, and the equivalent number of looks (ENL) of a scene.

    from hfd_edge import speckle
    looks = speckle.estimate_enl(intensity)
    quiet = speckle.lee(intensity, looks=looks, radius=3)

Every filter sees a window of (2 radius + 1)^2 pixels around each pixel; pixels that are not valid take no part in it, and
neither does what lies outside the image (border="mask"). A pixel's result depends on its window alone: tiles with a halo of
`halo_px` give the bits of the whole, on any instruction set and number of threads. Formulas, sources, margins: docs/speckle.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from hfd_edge import _native
from hfd_edge.device import thread_budget
from hfd_edge.errors import ArrayError
from hfd_edge.speckle.enl import LooksCounts
from hfd_edge.speckle.range import sigma_range

FILTERS = ("boxcar", "lee", "kuan", "enhanced_lee", "gamma_map", "frost", "refined_lee", "lee_sigma")
BORDERS = ("mask", "nearest")
NEED_LOOKS = tuple(name for name in FILTERS if name not in ("boxcar", "frost"))
LARGEST_RADIUS = 7
_REFINED_RADIUS = 3


@dataclass(frozen=True, slots=True)
class SpeckleFilter:
    """A filter with its numbers, checked once; `apply` runs it on as many images as there are."""

    name: str                                           # one of FILTERS
    looks: float | None = None                          # equivalent number of looks; None for boxcar and frost only
    radius: int = 3                                     # of the window, 1 to 7 pixels; refined_lee: 3
    border: str = "mask"                                # outside: "mask" = not valid, "nearest" = the nearest pixel
    damping: float = 2.0                                # frost: weights exp(-damping Ci^2 distance)
    sigma: float = 0.9                                  # lee_sigma: share of the speckle inside its range
    bright: float | Sequence[float] | None = None       # lee_sigma: 98th percentile of the whole scene, per band, linear

    def __post_init__(self) -> None:
        """Raises ArrayError where a number is missing or out of its range."""
        if self.name not in FILTERS:
            raise ArrayError(f"filter={self.name!r} is not known: use one of {', '.join(FILTERS)}")
        if self.border not in BORDERS:
            raise ArrayError(f"border={self.border!r} is not known: use 'mask' (outside is not valid) or 'nearest'")
        if self.name == "refined_lee" and self.radius != _REFINED_RADIUS:
            raise ArrayError(f"radius={self.radius} for refined_lee: its window is 7 x 7; use {_REFINED_RADIUS}")
        whole = isinstance(self.radius, (int, np.integer)) and not isinstance(self.radius, bool)
        if not whole or not 1 <= self.radius <= LARGEST_RADIUS:
            raise ArrayError(f"radius={self.radius!r}: it must be a whole number of pixels from 1 to {LARGEST_RADIUS}")
        if self.name in NEED_LOOKS and (self.looks is None or not 0 < self.looks < math.inf):
            raise ArrayError(f"looks={self.looks} for {self.name}: it must be a number above 0; the product's ENL, or estimate_enl(intensity)")
        if self.name == "frost" and not 0 <= self.damping < math.inf:
            raise ArrayError(f"damping={self.damping}: it must be finite and not below 0; 2 is usual")
        if self.name == "lee_sigma":
            self._check_bright()

    def _check_bright(self) -> None:
        if self.bright is None:
            raise ArrayError("lee_sigma needs bright=: the 98th percentile of each band over the whole scene, in linear "
                             "intensity; see hfd_edge.scene.measure_scene, or `hfd-edge scene`")
        object.__setattr__(self, "bright", tuple(float(value) for value in np.atleast_1d(self.bright)))
        if not all(0 < value < math.inf for value in self.bright):
            raise ArrayError(f"bright={self.bright}: each must be a linear intensity above 0")
        sigma_range(float(self.looks), float(self.sigma))

    @property
    def halo_px(self) -> int:
        """How far a pixel's result sees: what a tile must know beyond its own pixels."""
        return max(self.radius, 2) if self.name == "lee_sigma" else int(self.radius)

    def apply(self, intensity: np.ndarray, mask: np.ndarray | None = None, rows: tuple[int, int] | None = None,
              threads: int | None = None) -> np.ndarray:
        """Filter an image, or some of its rows.

        Args:
            intensity: (bands, rows, cols) or (rows, cols) float32, linear power. NaN, infinity and what is beyond 1e16 are not valid.
            mask: (rows, cols) bool or uint8, nonzero = valid; None = all.
            rows: (first, count) to make; windows still see all that is given. None = all.
            threads: None = all cores of this process.
        Returns:
            float32, new memory, shape of `intensity` (or of its rows), NaN where not valid.
        Raises:
            ArrayError: wrong shape, dtype or mask.
        """
        values = as_intensity(intensity)
        first, count = rows if rows is not None else (0, values.shape[1])
        out = np.empty((values.shape[0], count, values.shape[2]), np.float32)
        self.native(_native).run(values, as_mask(mask, values.shape[1:]), self.bright_of(values.shape[0]), first, out,
                                 thread_budget(threads))
        return out if np.ndim(intensity) == 3 else out[0]

    def bright_of(self, bands: int) -> list[float]:
        """A value for each band; [] where the filter takes none."""
        if self.name != "lee_sigma":
            return []
        if len(self.bright) not in (1, bands):
            raise ArrayError(f"bright={self.bright} for {bands} bands: give one value, or one per band")
        return list(self.bright) * (bands // len(self.bright))

    def native(self, module: ModuleType) -> Any:
        """The filter in hfd_edge._native, or in hfd_edge._cuda for a GPU."""
        low, high, noise2 = sigma_range(float(self.looks), float(self.sigma)) if self.name == "lee_sigma" else (0.0, 0.0, 0.0)
        return module.Speckle(self.name, self.border, int(self.radius), self.looks or 1.0, self.damping, low, high, noise2)


def as_intensity(intensity: np.ndarray) -> np.ndarray:
    """(bands, rows, cols) float32 in C order; copied only where it is not. Raises ArrayError."""
    if not isinstance(intensity, np.ndarray) or intensity.dtype != np.float32:
        given = getattr(intensity, "dtype", type(intensity).__name__)
        raise ArrayError(f"intensity is {given}: it must be a float32 array of linear power; convert it (decibels: "
                         "10 ** (dB / 10), amplitude: its square)")
    if intensity.ndim not in (2, 3) or 0 in intensity.shape:
        raise ArrayError(f"intensity has shape {intensity.shape}: it must be (bands, rows, cols) or (rows, cols) with pixels")
    if isinstance(intensity, np.ma.MaskedArray):
        raise ArrayError("intensity is a masked array: give its data, and mask=~np.ma.getmaskarray(x) (True = valid)")
    return np.require(intensity if intensity.ndim == 3 else intensity[np.newaxis], requirements=["C", "A"])


def as_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """(rows, cols) uint8 in C order, or None. Raises ArrayError."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != tuple(shape) or mask.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ArrayError(f"mask of shape {mask.shape} and dtype {mask.dtype}: it must be bool or uint8 of shape {tuple(shape)}, True = valid")
    return np.ascontiguousarray(mask).view(np.uint8)


def boxcar(intensity: np.ndarray, looks: float | None = None, radius: int = 3, mask: np.ndarray | None = None,
           border: str = "mask") -> np.ndarray:
    """The mean of the window. `looks` changes nothing: all filters are called alike. See SpeckleFilter.apply."""
    return SpeckleFilter("boxcar", looks, radius, border).apply(intensity, mask)


def lee(intensity: np.ndarray, looks: float, radius: int = 3, mask: np.ndarray | None = None,
        border: str = "mask") -> np.ndarray:
    """mean + k (pixel - mean), k = max(0, 1 - Cu^2 / Ci^2), Cu^2 = 1 / looks (Lee 1980). See SpeckleFilter.apply."""
    return SpeckleFilter("lee", looks, radius, border).apply(intensity, mask)


def kuan(intensity: np.ndarray, looks: float, radius: int = 3, mask: np.ndarray | None = None,
         border: str = "mask") -> np.ndarray:
    """As Lee with k / (1 + Cu^2) (Kuan et al. 1985). See SpeckleFilter.apply."""
    return SpeckleFilter("kuan", looks, radius, border).apply(intensity, mask)


def enhanced_lee(intensity: np.ndarray, looks: float, radius: int = 3, mask: np.ndarray | None = None,
                 border: str = "mask") -> np.ndarray:
    """The mean below Cu, the pixel above Cmax, weighted between (Lopes et al. 1990). See SpeckleFilter.apply."""
    return SpeckleFilter("enhanced_lee", looks, radius, border).apply(intensity, mask)


def gamma_map(intensity: np.ndarray, looks: float, radius: int = 3, mask: np.ndarray | None = None,
              border: str = "mask") -> np.ndarray:
    """Maximum a posteriori of a gamma texture (Lopes et al. 1990). See SpeckleFilter.apply."""
    return SpeckleFilter("gamma_map", looks, radius, border).apply(intensity, mask)


def frost(intensity: np.ndarray, looks: float | None = None, radius: int = 3, mask: np.ndarray | None = None,
          border: str = "mask", damping: float = 2.0) -> np.ndarray:
    """Weights exp(-damping Ci^2 distance) (Frost et al. 1982). `looks` changes nothing. See SpeckleFilter.apply."""
    return SpeckleFilter("frost", looks, radius, border, damping).apply(intensity, mask)


def refined_lee(intensity: np.ndarray, looks: float, radius: int = 3, mask: np.ndarray | None = None,
                border: str = "mask") -> np.ndarray:
    """Kuan's estimate from the half window along the strongest edge (Lee 1981); radius is 3. See SpeckleFilter.apply."""
    return SpeckleFilter("refined_lee", looks, radius, border).apply(intensity, mask)


def lee_sigma(intensity: np.ndarray, looks: float, bright: float | Sequence[float], radius: int = 3,
              mask: np.ndarray | None = None, border: str = "mask") -> np.ndarray:
    """Improved Lee sigma (Lee et al. 2009) with 90 % of the speckle in its range; `bright` is the scene's 98th percentile of
    each band. See SpeckleFilter for other shares, SpeckleFilter.apply for the rest."""
    return SpeckleFilter("lee_sigma", looks, radius, border, bright=bright).apply(intensity, mask)


def estimate_enl(intensity: np.ndarray, mask: np.ndarray | None = None, window_px: int = 15,
                 threads: int | None = None) -> float:
    """Equivalent number of looks: the mode of local estimates mean^2 / variance, in windows beside the evenest ones.

    Args:
        intensity: (bands, rows, cols) or (rows, cols) float32, linear power; several bands are counted together.
        mask: (rows, cols), nonzero = valid; None = all.
        window_px: side of the windows, odd, 3 to 15. Smaller ones estimate too high (7: 7 % at one look, 15: 2 %).
    Returns:
        The number of looks.
    Raises:
        ArrayError: wrong arrays, or no window is valid in whole and not flat.
    Source: the mode after Anfinsen, Doulgeris and Eltoft 2009, TGRS 47(11), by integer counts; the choice of windows is ours:
        speckle.enl.LooksCounts, docs/speckle.md.
    """
    values = as_intensity(intensity)
    counts = LooksCounts()
    counts.add(values, as_mask(mask, values.shape[1:]), window_px=window_px, threads=thread_budget(threads))
    return counts.looks
