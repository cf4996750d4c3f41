"""Do labels change more often across tile borders than elsewhere: the ratio, and two tests of it.

Neighbouring pairs along a border are not independent: a class border that runs along it changes a hundred of them at once. So no
pair is an observation here. Without another map the unit is a whole line across the scene, and border lines are held against all
lines far from any border and from the scene's rim, where reflection keeps labels from changing. With a map that saw no borders the
same pairs are held against each other, in pieces of BLOCK_PX.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.measure.flips import BLOCK_PX
from hfd_edge.spec import NODATA_LABEL
from hfd_edge.tiles import TileGrid

GUARD_PX = 8                    # lines nearer than this to a border or to the scene's rim are neither border nor interior


@dataclass(frozen=True, slots=True)
class Borders:
    """Scene rows and columns at which a tile's core begins, the scene's own edge left out."""

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    stride_px: int = 1          # of the network: its map repeats itself in this step, so only lines in step are like borders

    @classmethod
    def of(cls, grid: TileGrid) -> Borders:
        """The borders between the cores of a grid."""
        return cls(*grid.borders, grid.stride_px)


@dataclass(frozen=True, slots=True)
class SeamRatio:
    """Label changes between neighbours across borders, over those expected from neighbours far from any."""

    ratio: float                # 1 where borders cannot be seen; NaN where there are none, or no change inside
    z: float                    # of the border lines' changes, had they been drawn from the lines inside; 0 without borders
    border_pairs: int
    interior_pairs: int


def seam_ratio(labels: np.ndarray, borders: Borders) -> SeamRatio:
    """Label changes between neighbours, across borders against farther than GUARD_PX from any, and from the rim, and in step with them.

    What is expected is counted along rows and along columns apart, for a scene may change more often in one direction.

    Args:
        labels: (rows, cols) uint8; pairs with 255 do not count.
        borders: of the grid the map was stitched with.
    Source: one-sample z test of a sum, the variance of a line's excess over the mean rate taken from the lines inside.
    """
    across, inside, expected, variance = np.zeros(2, np.int64), 0, 0.0, 0.0
    for plane, at in ((labels, borders.rows), (labels.T, borders.cols)):
        if not at:
            continue
        lines = _lines(plane)
        away = distances(plane.shape[0] - 1, at)                        # of the pair i, i + 1 from a border at i + 1
        inner = distances(plane.shape[0] - 1, (0, plane.shape[0])) > GUARD_PX
        alike = (np.arange(1, plane.shape[0]) - at[0]) % borders.stride_px == 0
        on, off = lines[away == 0], lines[(away > GUARD_PX) & inner & alike]
        if not off[:, 0].any():
            continue
        across, inside = across + on.sum(axis=0), inside + int(off[:, 0].sum())
        rate = off[:, 1].sum() / off[:, 0].sum()
        expected += float(rate * on[:, 0].sum())
        excess = (off[:, 1] - rate * off[:, 0]) / np.sqrt(np.maximum(off[:, 0], 1))         # of a line, per root of its pairs
        variance += float((excess ** 2).mean() * on[:, 0].sum())
    pairs, changes = (int(count) for count in across)
    if not pairs:
        return SeamRatio(float("nan"), 0.0, pairs, inside)
    ratio = changes / expected if expected else float("nan")
    return SeamRatio(ratio, (changes - expected) / variance ** 0.5 if variance else 0.0, pairs, inside)


def seam_z_against(labels: np.ndarray, untiled: np.ndarray, borders: Borders) -> float:
    """z of the label changes that a tiled map has across its borders beyond those of the untiled map between the same pixels.

    0 where they are the same pairs. Class borders cancel: they are in both maps.

    Args:
        labels, untiled: (rows, cols) uint8; pairs with 255 in either do not count.
    Source: McNemar's test on clusters: sum(d) / sqrt(sum(d^2)) with d the difference in pieces of BLOCK_PX pairs of a border.
    """
    if labels.shape != untiled.shape:
        raise ArrayError(f"maps of {labels.shape} and {untiled.shape}: they must be of one scene")
    total, squares = 0, 0
    for one, other, at in ((labels, untiled, borders.rows), (labels.T, untiled.T, borders.cols)):
        for row in at:
            valid = (np.stack([one[row - 1:row + 1], other[row - 1:row + 1]]) != NODATA_LABEL).all(axis=(0, 1))
            more = ((one[row] != one[row - 1]).astype(np.int64) - (other[row] != other[row - 1])) * valid
            pieces = np.add.reduceat(more, np.arange(0, more.size, BLOCK_PX))
            total += int(pieces.sum())
            squares += int((pieces ** 2).sum())
    return total / squares ** 0.5 if squares else 0.0


def distances(size: int, borders: tuple[int, ...], pixels: bool = False) -> np.ndarray:
    """(size,) how far each pair of neighbours lies from the nearest border, or (`pixels`) each pixel, which touches it at 1."""
    if not borders:
        return np.full(size, np.iinfo(np.int64).max)
    index = np.arange(size)
    if not pixels:
        return np.min([np.abs(index + 1 - at) for at in borders], axis=0)
    return np.min([np.where(index < at, at - index, index - at + 1) for at in borders], axis=0)


def _lines(plane: np.ndarray) -> np.ndarray:
    """(rows - 1, 2) valid pairs and changes between each row and the next."""
    valid = (plane[1:] != NODATA_LABEL) & (plane[:-1] != NODATA_LABEL)
    return np.stack([valid.sum(axis=1), ((plane[1:] != plane[:-1]) & valid).sum(axis=1)], axis=1)
