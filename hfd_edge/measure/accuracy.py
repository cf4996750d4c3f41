"""Accuracy of label maps: one confusion matrix over everything, never a mean over tiles or scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.spec import NODATA_LABEL


class Confusion:
    """Counts of (truth, answer) pairs, filled map by map.

    Pixels whose truth is 255 are left out. An answer of 255 where the truth is known is a miss: it has a column of its own.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)    # [truth, answer], last column: no answer

    def add(self, truth: np.ndarray, answer: np.ndarray) -> None:
        """Count one map.

        Args:
            truth, answer: uint8 of the same shape; class indices or 255.
        Raises:
            ArrayError: shapes or dtypes differ, or a label is neither a class nor 255.
        """
        if truth.shape != answer.shape or truth.dtype != np.uint8 or answer.dtype != np.uint8:
            raise ArrayError(f"truth is {truth.dtype} {truth.shape}, answer is {answer.dtype} {answer.shape}: both must be uint8 "
                             "of one shape; crop the truth to the map")
        count = len(self.classes)
        pairs = np.bincount(truth.ravel().astype(np.int32) * 256 + answer.ravel(), minlength=256 * 256).reshape(256, 256)
        known = np.r_[0:count, NODATA_LABEL]
        if pairs[known][:, known].sum() != truth.size:
            worst = max(int(labels[labels != NODATA_LABEL].max(initial=0)) for labels in (truth, answer))
            raise ArrayError(f"label {worst}: maps of {count} classes hold 0 to {count - 1} and {NODATA_LABEL}; "
                             "translate the labels to this model's classes")
        self.counts += pairs[:count][:, known]

    def result(self) -> Accuracy:
        return Accuracy(self.classes, self.counts.copy())


@dataclass(frozen=True)
class Accuracy:
    """The figures of one confusion matrix. A class is present if the truth holds at least one pixel of it."""

    classes: tuple[str, ...]
    counts: np.ndarray                  # (classes, classes + 1) int64, [truth, answer], last column: no answer

    @property
    def pixels(self) -> int:
        return int(self.counts.sum())

    @property
    def present(self) -> np.ndarray:
        """(classes,) bool."""
        return self.counts.sum(axis=1) > 0

    @property
    def accuracy(self) -> float:
        """Share of pixels whose answer is the truth; nan without pixels."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def iou(self) -> np.ndarray:
        """(classes,) float64, intersection over union; nan where neither truth nor answer holds the class."""
        hits = np.diagonal(self.counts)
        return _ratio(hits, self.counts.sum(axis=1) + self.counts[:, :-1].sum(axis=0) - hits)

    @property
    def f1(self) -> np.ndarray:
        """(classes,) float64, harmonic mean of precision and recall, 2 IoU / (1 + IoU)."""
        return 2 * self.iou / (1 + self.iou)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present; nan without pixels."""
        return float(self.iou[self.present].mean()) if self.present.any() else float("nan")

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes present; nan without pixels."""
        return float(self.f1[self.present].mean()) if self.present.any() else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; figures that are not defined are None."""
        def number(value: float) -> float | None:
            return None if np.isnan(value) else round(float(value), 6)
        return {"pixels": self.pixels, "accuracy": number(self.accuracy), "miou": number(self.miou), "f1": number(self.mean_f1),
                "iou": {name: number(value) for name, value in zip(self.classes, self.iou)}, "counts": self.counts.tolist()}


def accuracy_of(truth: np.ndarray, answer: np.ndarray, classes: tuple[str, ...]) -> Accuracy:
    """The figures of a single map; see `Confusion.add` for the arguments."""
    confusion = Confusion(classes)
    confusion.add(truth, answer)
    return confusion.result()


def share_closed(miou: float, baseline: float) -> float:
    """How much of the way from a baseline's mIoU to 1 a classifier has gone; 0 = none, 1 = all, negative = backwards."""
    return (miou - baseline) / (1 - baseline)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in float64, nan where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
