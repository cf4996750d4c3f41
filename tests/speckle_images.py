"""Images to filter: speckle of any looks with an edge, a bright point, zeros, a hole and a masked corner."""

from __future__ import annotations

import numpy as np

from hfd_edge import speckle
from hfd_edge.speckle.range import sigma_range
from tests import reference_speckle as reference


def rough_image(looks: float, shape: tuple[int, int] = (27, 34), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cols) float32 and its mask."""
    rng = np.random.default_rng(seed)
    image = rng.gamma(looks, 0.05 / looks, shape)
    image[:, shape[1] // 2:] *= 4
    image[shape[0] // 2, shape[1] // 4] *= 60
    image[3:6, 4:9] = np.nan
    image[shape[0] - 7:shape[0] - 2, 20:28] = 0
    image[8, 2], image[9, 3] = np.inf, 3e16
    mask = np.ones(shape, bool)
    mask[10:14, shape[1] - 6:] = False
    return image.astype(np.float32), mask


def numbers_of(name: str, looks: float, radius: int, image: np.ndarray) -> dict:
    """Arguments of a filter besides image, mask and border."""
    numbers: dict = {"looks": looks} if name in speckle.NEED_LOOKS else {}
    numbers |= {} if name == "refined_lee" else {"radius": radius}
    if name == "lee_sigma":
        finite = image[np.isfinite(image) & (image < 1e16)]
        numbers["bright"] = max(float(np.percentile(finite, 98)), 1e-6) if finite.size else 1.0
    return numbers


def reference_of(name: str, image: np.ndarray, valid: np.ndarray, border: str, numbers: dict) -> tuple[np.ndarray, np.ndarray]:
    """(result, margin) of the float64 twin."""
    extra = {"sigma_range": sigma_range(numbers["looks"], 0.9)} if name == "lee_sigma" else {}
    return getattr(reference, name)(image, valid, border=border, **numbers, **extra)
