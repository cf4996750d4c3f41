"""Whether scenes hold the pixels that a judgement needs: asked before anything is calibrated or run.

The gate's bounds are 95 % ends of resampled blocks of 64 x 64 pixels, and hold what they say where there are enough blocks: docs/export.md has
how often they do. Fewer pixels are not judged under another rule; they are refused.
"""

from __future__ import annotations

import numpy as np

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration_data import DataScene, Tile, valid_pixels
from hfd_edge.export.parity import Thresholds
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch import STATUS_NODATA

_BOUNDS = "with fewer, the upper 95 % bounds on flips, IoU and the bounded halo do not hold what they say"
_ROUNDED = 10_000


def check_export(tiles: list[Tile], scenes: list[DataScene], spec: ModelSpec, limits: Thresholds) -> None:
    """Raise ExportError where the tiles to judge an export on have too few valid pixels; `scenes`: all that were given."""
    judged = _counted(tiles)
    if judged >= limits.min_pixels:
        return
    total = sum(valid_pixels(scene, spec) for scene in scenes)
    more = -(-2 * (limits.min_pixels - judged) // _ROUNDED) * _ROUNDED
    given = f"{len(scenes)} scenes, of which every second one calibrates and the others judge" if len(scenes) > 1 else (
        "one scene, whose upper rows calibrate and whose lower rows judge")
    raise ExportError(
        f"{total:,} valid pixels in {given}: {judged:,} are left to judge on, and {limits.min_pixels:,} are needed ({_BOUNDS}), whatever the precision; give "
        f"about {more:,} more in further scenes (--calibration), or leave out --calibration, --precision and --target: FP32 alone needs no scenes; nothing "
        "was written")


def check_verify(tiles: list[Tile], scenes: list[DataScene], limits: Thresholds) -> None:
    """Raise ExportError where the tiles to judge a package on have too few valid pixels."""
    judged = _counted(tiles)
    if judged < limits.min_pixels:
        raise ExportError(f"{judged:,} valid pixels in {len(scenes)} scene{'s' * (len(scenes) > 1)}, and {limits.min_pixels:,} are needed ({_BOUNDS}); give "
                          "about as many more (--data), or, to see the figures all the same, a lower --min-pixels")


def _counted(tiles: list[Tile]) -> int:
    return sum(int(np.count_nonzero(tile.status != STATUS_NODATA)) for tile in tiles)
