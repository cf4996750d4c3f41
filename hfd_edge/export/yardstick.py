"""Yardsticks: how many labels the float network itself changes when a scene is a little brighter, and beside nodata.

A graph that flips fewer labels than 0.1 dB does is finer than any radiometric calibration: Sentinel-1's is promised to 1 dB, three
sigma (ESA, Sentinel-1 product definition). Where the yardstick itself is long, the network is unsure on these scenes, and no
quantisation flips little there.

Beside an edge of nodata a label rests on half of what it rests on elsewhere, so some change. A network that never saw nodata changes
many: it takes the edge for an object, and its maps have a fringe along every border and hole.
"""

from __future__ import annotations

import numpy as np

from hfd_edge.export.calibration_data import Tile
from hfd_edge.export.parity import Infer, full_resolution
from hfd_edge.spec import NODATA_LABEL, ModelSpec, Unit

STEP_DB = 0.1
NEAR_PX = 4             # of an edge of nodata: as far as the demo student's errors reach when it was trained without nodata
_TURN = 2.399963        # radians from one edge to the next, the golden angle: no two edges lie alike


def brighter_flips(reference: Infer, tiles: list[Tile], spec: ModelSpec) -> float | None:
    """Share of the valid core pixels whose label changes when every pixel has 0.1 dB more; None for networks without decibels.

    Args:
        reference: the float network; asked twice per tile.
        tiles: as `tiles_of` makes them; pixels without value, which are 0 in all bands, stay so.
    """
    if spec.input.unit is not Unit.DB or not tiles:
        return None
    step = (STEP_DB / np.asarray(spec.input.std, np.float32))[None, :, None, None]
    flips = pixels = 0
    for tile in tiles:
        batch, *told = tile.given()
        brighter = (batch + step * batch.any(axis=1, keepdims=True)).astype(np.float32)
        told_brighter = [vector + np.repeat(step.ravel(), vector.size // step.size) for vector in told]
        before, after = (full_resolution(reference(*given)[0], tile.pixels.shape[1:], tile.status)[0]
                         for given in ((batch, *told), (brighter, *told_brighter)))
        seen = before != NODATA_LABEL
        flips, pixels = flips + int((seen & (before != after)).sum()), pixels + int(seen.sum())
    return flips / pixels if pixels else None


def beside_nodata(reference: Infer, tiles: list[Tile]) -> float | None:
    """Share of the valid core pixels within NEAR_PX of nodata that have another label than with the pixels there; None = no such pixel.

    Every tile is asked whole, and with nothing (0 in all bands, as nodata is) beyond a straight line through its middle.

    Args:
        reference: the float network; asked twice per tile.
        tiles: as `tiles_of` makes them.
    """
    changed = pixels = 0
    for number, tile in enumerate(tiles):
        side = tile.pixels.shape[1:]
        beyond = _beyond(side, number * _TURN)
        cut = np.where(beyond > 0, np.float32(0), tile.pixels)
        whole, beside = (full_resolution(reference(*tile.given(seen))[0], side, tile.status)[0] for seen in (tile.pixels, cut))
        near = (beyond <= 0) & (beyond > -NEAR_PX) & (whole != NODATA_LABEL)
        changed, pixels = changed + int((near & (whole != beside)).sum()), pixels + int(near.sum())
    return changed / pixels if pixels else None


def _beyond(side: tuple[int, ...], angle: float) -> np.ndarray:
    """(rows, cols) float64, how far each pixel's centre lies beyond a line through the middle, in pixels; negative on this side of it."""
    rows, cols = (np.arange(n) - (n - 1) / 2 for n in side)
    return np.add.outer(rows * np.sin(angle), cols * np.cos(angle))
