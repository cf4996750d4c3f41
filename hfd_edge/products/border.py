"""The border of old Sentinel-1 GRD images: low positive numbers where there is no measurement (IPF before 2.9)."""

from __future__ import annotations

import numpy as np

CLEAN_SINCE_IPF = 2.9               # from there on such pixels are 0
WINDOW_PX = 8


def measured_columns(power: np.ndarray, noise: np.ndarray) -> tuple[int, int]:
    """Columns first..stop-1 of one row that lie inside the border; (0, 0) where the whole row is border.

    From either side the border ends at the first WINDOW_PX pixels whose mean raw power exceeds half of the noise power that
    the product itself states there. That is conservative on purpose: calm water has at least the noise's power, and 8 pixels of
    4.4 looks fall below half of it once in 10^5 rows, while a threshold on the values after noise removal would eat it. What
    this leaves in is border brighter than half the noise, up to WINDOW_PX - 1 pixels per side, and, above and below the image,
    border between two pieces of image in one row.

    Args:
        power: (cols,) float64, raw DN^2, before noise removal.
        noise: (cols,) float64, noise power in DN^2.
    """
    width = min(WINDOW_PX, power.size)
    excess = np.concatenate([[0.0], np.cumsum(power - 0.5 * noise)])
    bright = np.flatnonzero(excess[width:] - excess[:-width] > 0.0)
    return (int(bright[0]), int(bright[-1]) + width) if bright.size else (0, 0)
