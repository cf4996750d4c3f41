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
        radiometry: as `radiometry.as_stored`; nothing is saturated where its saturation is None.
    """
    found = np.zeros(values.shape[1:], bool)
    level = stored_level(radiometry, values.dtype)
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


def stored_level(radiometry: SourceRadiometry, dtype: np.dtype) -> float | int | None:
    """The level as a number of the dtype, so that integers are compared as such; None where there is none, or no number is so high."""
    if radiometry.saturation is None:
        return None
    whole = dtype.kind in "iu"
    level = math.ceil(radiometry.saturation) if whole else _rounded(radiometry.saturation, dtype)
    limits = np.iinfo(dtype) if whole else np.finfo(dtype)
    return None if level > limits.max else max(level, type(level)(limits.min))


def _rounded(value: float, dtype: np.dtype) -> float:
    with np.errstate(over="ignore"):
        return float(np.finfo(dtype).dtype.type(value))
