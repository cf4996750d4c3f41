"""How many labels differ between two maps of one scene, with an upper bound that knows that errors come in clusters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.spec import NODATA_LABEL

BLOCK_PX = 64                   # pixels nearer than this are taken as one observation
BOUND = 0.95                    # the upper end of what is resampled
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Flips:
    """Labels that differ, of those that were compared."""

    flips: int
    pixels: int
    bound: float                # upper 95 % end of the rate over resampled blocks; at least 3 / pixels

    @property
    def rate(self) -> float:
        return self.flips / self.pixels if self.pixels else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {**asdict(self), "rate": self.rate}


def flips_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Flips:
    """Compare maps with the maps that they should be; pixels that are 255 in both do not count.

    Args:
        pairs: (expected, found), each (rows, cols) uint8.
    Raises:
        ArrayError: the maps of a pair have not one shape, or no pixel has a label.
    Source: percentile bootstrap over blocks (Efron & Tibshirani 1993); 3 / n: the rule of three for no event in n.
    """
    counts = np.concatenate([_blocks(expected, found) for expected, found in pairs])
    counts = counts[counts[:, 0] > 0]
    if not len(counts):
        raise ArrayError("maps without one labelled pixel: there is nothing to compare; give a part of the scene with pixels")
    return Flips(int(counts[:, 1].sum()), int(counts[:, 0].sum()), upper_bound(counts))


def _blocks(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(blocks, 2) pixels and flips."""
    if expected.shape != found.shape:
        raise ArrayError(f"maps of {expected.shape} and {found.shape}: they must be of one scene")
    seen = (expected != NODATA_LABEL) | (found != NODATA_LABEL)
    return block_sums(np.stack([seen, seen & (expected != found)]).astype(np.float64))


def block_sums(planes: np.ndarray) -> np.ndarray:
    """(k, rows, cols) to sums over blocks of BLOCK_PX x BLOCK_PX pixels, (blocks, k)."""
    for axis in (1, 2):
        planes = np.add.reduceat(planes, np.arange(0, planes.shape[axis], BLOCK_PX), axis=axis)
    return planes.reshape(len(planes), -1).T


def resampled(blocks: int, seed: int = 0) -> np.ndarray:
    """(draws, blocks) how often each block is drawn, of so many that are drawn with replacement."""
    return np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / max(1, blocks)), _DRAWS)


def upper_bound(counts: np.ndarray) -> float:
    """The rate's upper end, of (blocks, 2) pixels and flips: every block has a pixel."""
    draws = resampled(len(counts))
    rates = (draws @ counts[:, 1]) / np.maximum(draws @ counts[:, 0], 1)
    return max(float(np.quantile(rates, BOUND)), 3 / float(counts[:, 0].sum()))
