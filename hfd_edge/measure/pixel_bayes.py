"""The best classifier that looks at one pixel at a time: what a network must beat to have used any context at all.

The density of (VV dB, VH dB) in each class is counted on simulated scenes in a fine histogram and smoothed; a pixel gets the
class with the highest density times prior. Up to bin width and counting noise no other rule of the two values alone has a
higher accuracy on such scenes (Bayes). It maximises accuracy; its mIoU is that of the same map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.simulate import CLASSES, Scene, SceneConfig

LOWEST_DB, HIGHEST_DB, BIN_DB = -40.0, 20.0, 0.25         # speckle of 4.4 looks spreads over 2.2 dB
BINS = round((HIGHEST_DB - LOWEST_DB) / BIN_DB)
FIT_SCENES, FIT_SIDE_PX = 16, 512
_FIRST_SEED = 0x42617965735F7631                           # far from the small seeds of scenes that are judged


@dataclass(frozen=True)
class PixelBayes:
    """A table from a pair of dB values to the most probable class."""

    table: np.ndarray                                      # (BINS, BINS) uint8, [VV, VH]

    @classmethod
    def fit(cls, config: SceneConfig) -> PixelBayes:
        """Count the classes of scenes that share everything with `config` but size, border and seed.

        The same config always gives the same table; the scenes are fixed ones of their own.
        """
        counts = np.zeros((len(CLASSES), BINS * BINS))
        for number in range(FIT_SCENES):
            scene = Scene(replace(config, rows=FIT_SIDE_PX, cols=FIT_SIDE_PX, border_px=0, seed=_FIRST_SEED + number))
            window = scene.window(0, 0, FIT_SIDE_PX, FIT_SIDE_PX, eo=False)
            cell = _bins(window.sar)
            for index in range(len(CLASSES)):
                counts[index] += np.bincount(cell[window.labels == index], minlength=BINS * BINS)
        counts = counts.reshape(len(CLASSES), BINS, BINS)
        density = _smooth(counts, 0.5) + 1e-4 * _smooth(counts, 2.5)      # the wide one decides only where nothing was counted
        return cls(density.argmax(axis=0).astype(np.uint8))

    def classify(self, sar: np.ndarray) -> np.ndarray:
        """The most probable class of every pixel.

        Args:
            sar: (2, r, c) float32, sigma nought of VV and VH, linear, above 0.
        Returns:
            (r, c) uint8, class indices of hfd_edge.simulate.CLASSES.
        Raises:
            ArrayError: not two bands.
        """
        if sar.ndim != 3 or sar.shape[0] != 2:
            raise ArrayError(f"sar has shape {sar.shape}: the classifier takes (2, rows, cols), VV then VH, linear")
        return self.table.ravel()[_bins(sar)]


def _bins(sar: np.ndarray) -> np.ndarray:
    """(r, c) int32 cell of each pixel; values beyond the table land in its outermost bins."""
    db = 10 * np.log10(np.maximum(sar, np.float32(1e-12)))
    bins = np.clip(np.floor((db - LOWEST_DB) / BIN_DB), 0, BINS - 1).astype(np.int32)
    return bins[0] * BINS + bins[1]


def _smooth(counts: np.ndarray, sigma_db: float) -> np.ndarray:
    """Gaussian smoothing of (classes, BINS, BINS) along both dB axes; weight beyond the table is lost."""
    distance = np.subtract.outer(np.arange(BINS), np.arange(BINS)) * BIN_DB
    kernel = np.exp(-0.5 * (distance / sigma_db) ** 2)
    kernel /= kernel.sum(axis=1).max()
    return kernel @ counts @ kernel
