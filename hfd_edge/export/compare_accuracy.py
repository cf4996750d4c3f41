"""How much more or less accurate a new engine is than an old one on the same labels, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hfd_edge.measure.flips import BLOCK_PX

SURE = 1.96                     # standard errors: 95 % lie within


@dataclass(frozen=True, slots=True)
class Change:
    """IoU of the new engine less that of the old one, by class and on average over those present; each with its 95 % half width."""

    iou: tuple[float | None, ...]           # None: the class is not in the labels
    iou_within: tuple[float | None, ...]
    miou: float
    miou_within: float                      # infinite where one block holds all labels

    def worse(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """What lost more than its half width, in words, the mean first."""
        each = [("mean IoU", self.miou, self.miou_within), *zip(classes, self.iou, self.iou_within)]
        return tuple(f"{name} {points(change, within)}" for name, change, within in each if change is not None and change < -within)


def points(change: float, within: float) -> str:
    """"-1.11 ± 0.20 points"."""
    return f"{100 * change:+.2f}" + (f" ± {100 * within:.2f} points" if math.isfinite(within) else " points (too few pixels to say how sure)")


class PairedCounts:
    """Labels and both maps by blocks of 64 x 64 pixels, kept as sums and sums of products: any number of scenes in the same memory.

    Source: variance of a ratio by linearisation over clusters (Cochran 1977, Sampling Techniques, 6.4), the blocks being the clusters, as in measure.flips.
    """

    def __init__(self, classes: int) -> None:
        self._classes, self._blocks = classes, 0
        self._sums, self._products = np.zeros(5 * classes), np.zeros((5 * classes, 5 * classes))

    def add(self, truth: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
        """Count rows of one scene: (rows, cols) uint8 each."""
        planes = []
        for number in range(self._classes):
            here, known = truth == number, truth < self._classes
            planes.append(here)
            for said in (old == number, new == number):
                planes += [here & said, known & said]
        counts = np.stack([cells(plane, BLOCK_PX).ravel() for plane in planes], axis=1).astype(np.float64)
        counts = counts[counts.any(axis=1)]
        self._blocks += len(counts)
        self._sums += counts.sum(axis=0)
        self._products += counts.T @ counts

    def change(self) -> Change | None:
        """None where no pixel has a label."""
        truth, *answers = self._sums.reshape(-1, 5).T
        present = truth > 0
        if not present.any():
            return None
        ious, slopes = [], np.zeros((self._classes, self._classes, 5))
        for sign, (hits, said), at in zip((-1, 1), (answers[:2], answers[2:]), (1, 3)):
            union = np.where(present, truth + said - hits, 1)
            ious.append(hits / union)
            own = range(self._classes)
            slopes[own, own, 0] -= sign * hits / union ** 2
            slopes[own, own, at] = sign * (union + hits) / union ** 2
            slopes[own, own, at + 1] = -sign * hits / union ** 2
        slopes = slopes.reshape(self._classes, -1)
        iou, within = ious[1] - ious[0], [self._within(slope) for slope in slopes]
        return Change(tuple(float(value) if there else None for value, there in zip(iou, present)),
                      tuple(value if there else None for value, there in zip(within, present)),
                      float(iou[present].mean()), self._within(slopes[present].mean(axis=0)))

    def _within(self, slope: np.ndarray) -> float:
        if self._blocks < 2:
            return math.inf
        return SURE * math.sqrt(max(0.0, float(slope @ self._products @ slope)) * self._blocks / (self._blocks - 1))


def cells(plane: np.ndarray, cell: int) -> np.ndarray:
    """Counts over cells of cell x cell pixels; the last ones may hold fewer."""
    for axis in (0, 1):
        plane = np.add.reduceat(plane, np.arange(0, plane.shape[axis], cell), axis=axis, dtype=np.int64)
    return plane
