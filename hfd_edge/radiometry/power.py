"""The histogram of linear power that scenes are counted in: 128 bins an octave, whole numbers, the same for any tiling."""

from __future__ import annotations

import numpy as np

from hfd_edge.errors import ArrayError


def percentile_of(histogram: np.ndarray, valid: int, no_signal: int, percent: float) -> float:
    """Linear power below which so many percent of the valid pixels lie; pixels without signal lie below all others.

    Exact to the width of a bin, 0.8 %. 0 where the answer is a pixel without signal.

    Args:
        histogram: (POWER_BINS,) int64 of the pixels whose power is above 0.
        valid: pixels with a value; no_signal: of these, pixels whose power is 0 or below.
    Raises:
        ArrayError: percent is not 0 to 100, or no pixel is valid.
    """
    if not 0 <= percent <= 100 or valid == 0:
        raise ArrayError(f"percentile {percent} of {valid} valid pixels: it must be 0 to 100, of at least one pixel")
    wanted = percent / 100 * valid - no_signal
    if wanted <= 0:
        return 0.0
    total = np.cumsum(histogram)
    index = min(int(np.searchsorted(total, wanted)), len(total) - 1)
    inside = (wanted - (total[index] - histogram[index])) / max(int(histogram[index]), 1)
    low, high = power_edges(index)
    return float(low + (high - low) * min(max(inside, 0.0), 1.0))


def power_edges(index: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of bins of the power histogram, linear: the float32 whose upper 16 bits are the index."""
    bits = np.asarray(index, np.int64).astype(np.uint32) << np.uint32(16)
    low, high = bits.view(np.float32), (bits + np.uint32(1 << 16)).view(np.float32)
    return low.astype(np.float64), high.astype(np.float64)
