"""Tiled against whole: what the grid does to the network's answer, measured on the logits themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import DeviceError
from hfd_edge.plan import PlanRequest
from hfd_edge.run import Run, equal_shapes
from hfd_edge.run.host import HostStages
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.spec import Unit
from hfd_edge.tiles import Tile, round_up


@dataclass(frozen=True, slots=True)
class TilingError:
    """How far two stitched answers to one scene differ."""

    max_abs: float          # largest difference of a logit
    flips: int              # logit positions whose best class differs
    close_calls: int        # of these, positions where the two best logits lie within 2e-4 of each other in the first answer
    positions: int


def stitched_logits(segmenter: Segmenter, array: np.ndarray, request: PlanRequest, unit: Unit | str | None = None) -> np.ndarray:
    """Logits of a whole scene at the network's own stride, stitched as `request` says.

    Args:
        array: (bands, rows, cols), as `Segmenter.run` takes it.
        request: tile, halo, batch and offset of the grid.
    Returns:
        (classes, ceil(rows / s), ceil(cols / s)) float32, s = spec.logit_stride_px; NaN (with blending 0) where a tile had no valid pixel.
    """
    s = segmenter.spec.logit_stride_px
    source = ArraySource(array, len(segmenter.spec.bands))
    run = segmenter.prepare(source, segmenter.declared(unit, source.dtype), request=request)
    whole = np.full((len(segmenter.spec.classes), -(-source.rows // s), -(-source.cols // s)), np.nan, np.float32)
    if run.plan.blend is not None:
        _put_fused(whole, segmenter, run)
        return whole
    for tile, logits in tile_logits(segmenter, run):
        top, left = (c // s for c in tile.crop)
        rows, cols = -(-tile.rows // s), -(-tile.cols // s)
        row, col = tile.row // s, tile.col // s
        whole[:, row:row + rows, col:col + cols] = logits[:, top:top + rows, left:left + cols]
    return whole


def tile_logits(segmenter: Segmenter, run: Run) -> Iterator[tuple[Tile, np.ndarray]]:
    """Every tile that has a valid pixel with the engine's logits (classes, rows / s, cols / s) for its input.

    Raises:
        DeviceError: the segmenter runs on a device from which logits do not come down.
    """
    stages = segmenter.stages(run)
    if not isinstance(stages, HostStages):
        raise DeviceError(f"logits of single tiles are measured in main memory, and this Segmenter runs on {segmenter.device}: open "
                          "one with device='cpu'")
    for window in segmenter.windows(run):
        part = stages.open(window)
        for tiles in equal_shapes(window.strip.tiles, run.plan.batch):
            begun = stages.begin(part, tiles)
            if begun.kept:
                yield from zip(begun.kept, stages.infer(begun))


def _put_fused(whole: np.ndarray, segmenter: Segmenter, run: Run) -> None:
    s = segmenter.spec.logit_stride_px
    for part in segmenter.finished_strips(run):
        strip = part.strip
        rows, cols, top, left = -(-strip.rows // s), whole.shape[2], (strip.row - part.row) // s, -part.col // s
        whole[:, strip.row // s:strip.row // s + rows] = part.field[:, top:top + rows, left:left + cols]


def whole_request(segmenter: Segmenter, rows: int, cols: int) -> PlanRequest:
    """One tile over the whole scene with the scene-anchored reflection around it."""
    halo, stride = segmenter.spec.halo_px, segmenter.spec.stride_px
    return PlanRequest(tile=(round_up(rows, stride) + 2 * halo, round_up(cols, stride) + 2 * halo), halo=halo)


def compare_logits(first: np.ndarray, second: np.ndarray) -> TilingError:
    """Compare two (classes, rows, cols) logit fields of one scene."""
    flipped = first.argmax(axis=0) != second.argmax(axis=0)
    best = np.sort(first, axis=0)
    close = best[-1] - best[-2] <= 2e-4 if len(first) > 1 else np.ones(first.shape[1:], bool)
    return TilingError(float(np.nanmax(np.abs(first - second))), int(flipped.sum()), int((flipped & close).sum()), flipped.size)
