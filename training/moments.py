"""Mean, spread and range of pixels that come pair by pair; the order in which they come does not matter."""

from __future__ import annotations

import numpy as np

DB_RANGE, DB_STEP = (-100.0, 100.0), 0.01
_RESOLVED = 1e-6                         # of the mean: float32 pixels tell no smaller spread apart
_CONSTANT = 1e-5                         # of the mean, at least the spread of a constant band: its rounded mean may be 5e-6 of it off
_CLIPPED_SHARE = 5e-4                    # of pixels beyond each end of the clip


class Sums:
    """Float64 sums per band."""

    def __init__(self, bands: int) -> None:
        self.count, self._sum, self._square = 0, np.zeros(bands), np.zeros(bands)

    def add(self, values: np.ndarray) -> None:
        """(bands, n)."""
        values = values.astype(np.float64)
        self.count += values.shape[1]
        self._sum += values.sum(axis=1)
        self._square += (values ** 2).sum(axis=1)

    def result(self) -> tuple[None, tuple[float, ...], tuple[float, ...]]:
        mean = self._sum / self.count
        std = np.sqrt(np.maximum(self._square / self.count - mean ** 2, 0))
        return None, _rounded(mean), _spread(np.where(std > _RESOLVED * np.abs(mean), std, 0), mean)       # what is left of a constant band is rounding


class Histogram:
    """Counts of dB values per band in bins of 0.01 dB."""

    def __init__(self, bands: int) -> None:
        self._low, self._bins = DB_RANGE[0], round((DB_RANGE[1] - DB_RANGE[0]) / DB_STEP) + 1
        self.count, self._counts = 0, np.zeros((bands, self._bins), np.int64)

    def add(self, values: np.ndarray) -> None:
        """(bands, n) in dB; what lies outside the range counts at its ends."""
        self.count += values.shape[1]
        index = np.clip(np.rint((values - self._low) / DB_STEP), 0, self._bins - 1).astype(np.int64)
        for band, own in enumerate(index):
            self._counts[band] += np.bincount(own, minlength=self._bins)

    def result(self) -> tuple[tuple[tuple[float, float], ...], tuple[float, ...], tuple[float, ...]]:
        centers = self._low + DB_STEP * np.arange(self._bins)
        share = np.cumsum(self._counts, axis=1) / self.count
        clip = []
        for own in share:
            low = np.floor(centers[np.searchsorted(own, _CLIPPED_SHARE)])
            clip.append((float(low), float(max(np.ceil(centers[np.searchsorted(own, 1 - _CLIPPED_SHARE)]), low + 1))))
        inside = np.stack([np.clip(centers, low, high) for low, high in clip])
        mean = (inside * self._counts).sum(axis=1) / self.count
        variance = ((inside - mean[:, None]) ** 2 * self._counts).sum(axis=1) / self.count
        return tuple(clip), _rounded(mean), _spread(np.sqrt(variance), mean)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Six digits: equal on every machine, and more than any set can tell."""
    return tuple(float(f"{v:.6g}") for v in values)


def _spread(std: np.ndarray, mean: np.ndarray) -> tuple[float, ...]:
    """Standard deviations; of a band that is constant 1, or more where its mean is so large that 1 could not be told apart."""
    return _rounded(np.where(std > 0, std, np.maximum(1.0, _CONSTANT * np.abs(mean))))
