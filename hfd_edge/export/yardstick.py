"""A yardstick for label flips: how many labels the float network itself changes when the whole scene is a little brighter.

A graph that flips fewer labels than 0.1 dB does is finer than any radiometric calibration: Sentinel-1's is promised to 1 dB, three
sigma (ESA, Sentinel-1 product definition). Where the yardstick itself is long, the network is unsure on these scenes, and no
quantisation flips little there.
"""

from __future__ import annotations

import numpy as np

from hfd_edge.export.calibration_data import Tile
from hfd_edge.export.parity import Infer, full_resolution
from hfd_edge.spec import NODATA_LABEL, ModelSpec, Unit

STEP_DB = 0.1


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
