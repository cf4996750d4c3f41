"""Stored values at the end of their scale: the pixel stays valid, but its power is a lower bound, and the report counts it."""

from __future__ import annotations

import math

import numpy as np

from hfd_edge.radiometry import SourceRadiometry


def saturated(values: np.ndarray, valid: np.ndarray | None, radiometry: SourceRadiometry) -> np.ndarray:
    """(rows, cols) bool: pixels that have a value in every band and reach `radiometry.saturation` in one.

    Args:
        values: (bands, rows, cols) as stored, any readable dtype; of complex numbers the real or the imaginary part counts.
        valid: (rows, cols), nonzero = valid, or None.
        radiometry: nothing is saturated where its saturation is None.
    """
    found = np.zeros(values.shape[1:], bool)
    level = None if radiometry.saturation is None else _level(radiometry.saturation, values.dtype)
    if level is None:
        return found
    for band in values:
        if band.dtype.kind in "iu" and band.size and band.max() < level:      # of most strips; a maximum takes no memory
            continue
        found |= _reaches(band, level)
    if found.any():                                             # hardly ever: the rest costs nothing where nothing is
        for band in values:
            found &= np.isfinite(band)
            for nodata in radiometry.nodata:
                found &= band != nodata
        if valid is not None:
            found &= np.asarray(valid, bool)
    return found


def _reaches(band: np.ndarray, level: float | int) -> np.ndarray:
    if band.dtype.kind == "c":
        return (np.abs(band.real) >= level) | (np.abs(band.imag) >= level)
    return band >= level


def _level(level: float, dtype: np.dtype) -> float | int | None:
    """The level in the dtype's own numbers, so that integers are compared as such; None where no number of it is so high."""
    if dtype.kind not in "iu":
        return level
    lowest = math.ceil(level)
    return None if lowest > np.iinfo(dtype).max else max(lowest, int(np.iinfo(dtype).min))
