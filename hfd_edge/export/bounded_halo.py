"""The bounded halo: the smallest one whose label flips against the exact halo stay under a promise, by an upper bound.

Measured on the FP32 graph alone: a halo is a property of the network, not of the precision that happens to run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfd_edge.export.calibration_data import Tile
from hfd_edge.export.parity import Infer, full_resolution
from hfd_edge.measure.flips import flips_of
from hfd_edge.spec import ModelSpec

MOST_FLIPS = 1e-4               # DESIGN: label flips of the bounded halo on calibration scenes


@dataclass(frozen=True, slots=True)
class HaloFlips:
    """What a halo costs in labels."""

    halo_px: int
    flips: int
    pixels: int
    bound: float                # upper 95 % end of the flip rate over resampled blocks

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return asdict(self)


def flip_curve(run: Infer, tiles: Iterable[Tile], spec: ModelSpec) -> list[HaloFlips]:
    """Flips against the exact halo, from the largest halo below it downwards, until one breaks the promise.

    Args:
        run: the FP32 graph.
        tiles: with the exact halo around their cores; enough for the promise (a million pixels).
    """
    tiles = list(tiles)
    exact = [_core_labels(run, tile, spec, spec.halo_px) for tile in tiles]
    curve: list[HaloFlips] = []
    for halo in range(spec.halo_px - spec.stride_px, -1, -spec.stride_px):
        found = flips_of((labels, _core_labels(run, tile, spec, halo)) for tile, labels in zip(tiles, exact))
        curve.append(HaloFlips(halo, found.flips, found.pixels, found.bound))
        if curve[-1].bound > MOST_FLIPS:
            break
    return curve


def bounded_halo_px(curve: list[HaloFlips]) -> int | None:
    """The smallest halo of the curve that keeps the promise, as all above it do; None if none below the exact one does."""
    kept = [point.halo_px for point in curve if point.bound <= MOST_FLIPS]
    return min(kept, default=None)


def _core_labels(run: Infer, tile: Tile, spec: ModelSpec, halo: int) -> np.ndarray:
    """Labels of the core when the tile is read with `halo` pixels around it: a smaller gather reads a part of it."""
    cut = spec.halo_px - halo
    rows, cols = (slice(cut, n - cut) for n in tile.pixels.shape[1:])
    pixels, status = np.ascontiguousarray(tile.pixels[:, rows, cols]), np.ascontiguousarray(tile.status[rows, cols])
    labels, _ = full_resolution(run(*tile.given(pixels))[0], pixels.shape[1:], status)
    return labels[halo:labels.shape[0] - halo, halo:labels.shape[1] - halo]
