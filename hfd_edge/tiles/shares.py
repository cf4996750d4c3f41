"""What two overlapping tiles say of one logit cell, weighed: tables of whole numbers that add up to one.

Two neighbours overlap in a band of cells that is the same at every border: cell t of it lies t cells right of the first one.
The right tile's share of cell t is a whole number of 1/SHARE_ONE and the left tile has the rest, so the shares of a cell add up
to one exactly, whatever the rule; and both depend on whole numbers of scene coordinates alone, so a pixel's weights do not
depend on who computes them. Along the other axis the same holds, and a pixel's four weights are the products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hfd_edge.errors import GridError

MODES = ("crop", "precision", "hann", "gaussian", "constant")
SHARE_ONE = 1 << 15
GAUSSIAN_SIGMA = 1 / 8              # of a tile's used part, as MONAI and nnU-Net
GAUSSIAN_LEAST = 1e-3               # as MONAI: weights below this are raised to it


@dataclass(frozen=True, slots=True)
class Blend:
    """How overlapping tiles are fused; `rows` and `cols` are the tables of the two axes."""

    mode: str                       # one of MODES but "crop"
    overlap_px: int                 # width of the band in which two neighbours are fused
    rows: tuple[int, ...]           # share of the lower tile in each cell of the band, in 1 / SHARE_ONE
    cols: tuple[int, ...]           # share of the right tile


@dataclass(frozen=True, slots=True)
class Band:
    """The band between two neighbours, in logit cells along one axis."""

    cells: int                      # width, even
    margin: int                     # cells between the band's end and the end of the tile's input
    core: int                       # core of a tile


def shares(mode: str, band: Band, edge_error: tuple[float, ...] | None = None) -> tuple[int, ...]:
    """The right tile's share of every cell of a band.

    Args:
        mode: "precision" weighs by 1 / edge_error, "hann" by sin^2, "gaussian" by the distance from the tile's centre, "constant" alike.
        edge_error: mean squared error of a logit in the cell that many cells from the end of its tile; 0 beyond the end of the
            tuple. "precision" needs it.
    Returns:
        (band.cells,) whole numbers of 0..SHARE_ONE that mirror each other: share[t] + share[-1 - t] = SHARE_ONE.
    Source: inverse variance weighting; MONAI's compute_importance_map for the Gaussian. Twin: tests/reference_blend.py::shares.
    """
    if band.cells < 2 or band.cells % 2:
        raise GridError(f"band of {band.cells} logit cells: two tiles overlap by an even number of them, at least 2")
    half = [_share(mode, band, edge_error, t) for t in range(band.cells // 2)]
    return (*half, *(SHARE_ONE - share for share in reversed(half)))


def _share(mode: str, band: Band, edge_error: tuple[float, ...] | None, t: int) -> int:
    """Of a cell of the left half: the right tile's share, at most one half."""
    if mode == "constant":
        return SHARE_ONE // 2
    if mode == "hann":
        return round(SHARE_ONE * math.sin(math.pi / 2 * (t + 0.5) / band.cells) ** 2)
    if mode == "gaussian":
        left, right = (_gaussian(band, cells) for cells in (band.cells - 1 - t, t))
        return round(SHARE_ONE * right / (left + right))
    if mode != "precision" or edge_error is None:
        raise GridError(f"stitch={mode!r}: use one of {', '.join(MODES)}; precision needs the network's edge error")
    left, right = (edge_error[d] if d < len(edge_error) else 0.0 for d in (band.margin + band.cells - 1 - t, band.margin + t))
    if left == right:
        return SHARE_ONE // 2
    return round(SHARE_ONE * left / (left + right))


def _gaussian(band: Band, inside: int) -> float:
    """The weight of a tile in the cell that lies `inside` cells from the end of its used part, unnormalised."""
    side = band.core + band.cells
    from_centre = (side / 2 - inside - 0.5) / (GAUSSIAN_SIGMA * side)
    return max(math.exp(-0.5 * from_centre ** 2), GAUSSIAN_LEAST)
