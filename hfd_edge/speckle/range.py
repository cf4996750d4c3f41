"""The range of improved Lee sigma: between which values a given share of speckle lies whose mean there still is 1."""

from __future__ import annotations

import math
from functools import lru_cache

from hfd_edge.errors import ArrayError

_MOST_LOOKS = 1000.0


@lru_cache(maxsize=64)
def sigma_range(looks: float, sigma: float) -> tuple[float, float, float]:
    """Where speckle of mean 1 is taken to be one of its kind.

    Args:
        looks: equivalent number of looks, any real number from 0.1 to 1000.
        sigma: share of the speckle inside the range, 0.1 to 0.98.
    Returns:
        (low, high, noise2): P(low <= s <= high) = sigma and E[s | low <= s <= high] = 1 for gamma speckle s; noise2 is its
        squared coefficient of variation there.
    Raises:
        ArrayError: looks or sigma is out of its range.
    Source: Lee et al. 2009, TGRS 47, 202-213, table I (1 to 4 looks), here for any number: P and its moments are incomplete
    gamma functions, E[s; s <= t] = P(looks + 1, looks t).
    """
    if not 0.1 <= looks <= _MOST_LOOKS:
        raise ArrayError(f"looks={looks} for lee_sigma: it must be 0.1 to {_MOST_LOOKS:g}; with more looks no filter is needed")
    if not 0.1 <= sigma <= 0.98:
        raise ArrayError(f"sigma={sigma}: it must be a share of the speckle from 0.1 to 0.98; 0.9 is usual")
    first, last = 0.0, _quantile(looks, 1 - sigma)
    for _ in range(80):                                     # the higher the low end, the higher the mean inside
        low = (first + last) / 2
        high = _quantile(looks, min(_below(looks, looks * low) + sigma, 1.0))
        first, last = (low, last) if _between(looks + 1, looks, low, high) < sigma else (first, low)
    square = (looks + 1) / looks * _between(looks + 2, looks, low, high) / sigma
    return low, high, square - 1


def _between(shape: float, looks: float, low: float, high: float) -> float:
    return _below(shape, looks * high) - _below(shape, looks * low)


def _quantile(looks: float, share: float) -> float:
    """The value below which a share of the speckle lies."""
    first, last = 0.0, 1.0
    while _below(looks, looks * last) < share and last < 1e4:
        last *= 2
    for _ in range(80):
        middle = (first + last) / 2
        first, last = (middle, last) if _below(looks, looks * middle) < share else (first, middle)
    return (first + last) / 2


def _below(shape: float, x: float) -> float:
    """Regularised lower incomplete gamma function P(shape, x), by its power series (all terms positive)."""
    if x <= 0:
        return 0.0
    if x > shape + 40 * math.sqrt(shape) + 60:
        return 1.0
    term = math.exp(shape * math.log(x) - x - math.lgamma(shape + 1))
    total, step = term, shape
    while term > 1e-17 * total or step < x:
        step += 1
        term *= x / step
        total += term
    return min(total, 1.0)
