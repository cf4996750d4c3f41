"""Seams in a stitched map: do labels change more often across tile borders, and do they depend on where the grid lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.measure.accuracy import accuracy_of
from hfd_edge.measure.tiling import whole_request
from hfd_edge.plan import PlanRequest
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.spec import NODATA_LABEL, Unit
from hfd_edge.tiles import TileGrid

GUARD_PX = 8                    # pairs nearer than this to a border are neither border nor interior
NEAR_PX, FAR_PX = 4, 16         # of border_drop


@dataclass(frozen=True, slots=True)
class Borders:
    """Scene rows and columns at which a tile's core begins, the scene's own edge left out."""

    rows: tuple[int, ...]
    cols: tuple[int, ...]

    @classmethod
    def of(cls, grid: TileGrid) -> Borders:
        """The borders between the cores of a grid."""
        return cls(*grid.borders)


@dataclass(frozen=True, slots=True)
class SeamRatio:
    """Rate of label changes between neighbours across borders, over that of neighbours far from any."""

    ratio: float                # 1 where borders cannot be seen; NaN where there are none, or no change inside
    z: float                    # of the difference of the two rates if pairs were independent, which class borders are not
    border_pairs: int
    interior_pairs: int


@dataclass(frozen=True, slots=True)
class SeamReport:
    """What was measured of one scene with one grid."""

    tile_px: tuple[int, int]
    halo: str
    halo_px: int
    seams: SeamRatio
    seams_of_whole: SeamRatio           # at the same places of the map made as one tile: what is no seam
    grid_disagreement: float            # share of valid pixels whose label changes with the grid half a core on
    whole_disagreement: float           # the same, of the tiled map against one tile over the scene
    border_drop: float | None           # mIoU far from borders minus mIoU beside them; None without a truth

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def seam_ratio(labels: np.ndarray, borders: Borders) -> SeamRatio:
    """Label changes between neighbours, across borders against farther than GUARD_PX from any.

    Args:
        labels: (rows, cols) uint8; pairs with 255 do not count.
        borders: of the grid the map was stitched with.
    Source: two-proportion z test, pooled.
    """
    across, inside = np.zeros(2, np.int64), np.zeros(2, np.int64)           # (pairs, changes)
    for plane, at in ((labels, borders.rows), (labels.T, borders.cols)):
        valid = (plane[1:] != NODATA_LABEL) & (plane[:-1] != NODATA_LABEL)
        changes = (plane[1:] != plane[:-1]) & valid
        distance = _distance(plane.shape[0] - 1, at)                        # of the pair i, i + 1 from a border at i + 1
        for count, rows in ((across, distance == 0), (inside, distance > GUARD_PX)):
            count += valid[rows].sum(), changes[rows].sum()
    if not across[0] or not inside[0]:
        return SeamRatio(float("nan"), float("nan"), int(across[0]), int(inside[0]))
    one, other = across[1] / across[0], inside[1] / inside[0]
    pooled = (across[1] + inside[1]) / (across[0] + inside[0])
    spread = np.sqrt(pooled * (1 - pooled) * (1 / across[0] + 1 / inside[0]))
    return SeamRatio(float(one / other) if other else float("nan"), float((one - other) / spread) if spread else 0.0,
                     int(across[0]), int(inside[0]))


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pixels with a label in either map whose labels differ. Raises ArrayError where the shapes do."""
    if one.shape != other.shape:
        raise ArrayError(f"maps of {one.shape} and {other.shape}: they must be of one scene")
    valid = (one != NODATA_LABEL) | (other != NODATA_LABEL)
    return float((one != other)[valid].mean()) if valid.any() else 0.0


def border_drop(truth: np.ndarray, labels: np.ndarray, borders: Borders, classes: tuple[str, ...]) -> float:
    """mIoU farther than FAR_PX from every border minus mIoU within NEAR_PX of one; NaN where there are no such pixels."""
    rows, cols = (_distance(size, at, pixels=True) for size, at in zip(labels.shape, (borders.rows, borders.cols)))
    distance = np.minimum.outer(rows, cols)
    far, near = (accuracy_of(np.where(where, truth, np.uint8(NODATA_LABEL)), labels, classes).miou
                 for where in (distance > FAR_PX, distance <= NEAR_PX))
    return float(far - near)


def stitched_labels(segmenter: Segmenter, array: np.ndarray, request: PlanRequest,
                    unit: Unit | str | None = None) -> tuple[np.ndarray, TileGrid, str]:
    """(labels (rows, cols) uint8, grid, kind of halo) of a scene cut as `request` says."""
    source = ArraySource(array, len(segmenter.spec.bands))
    run = segmenter.prepare(source, segmenter.declared(unit, source.dtype), request=request)
    labels = np.empty((source.rows, source.cols), np.uint8)
    for strip, stitcher in segmenter.finished_strips(run, segmenter.windows(run)):
        labels[strip.row:strip.row + strip.rows] = stitcher.labels
    return labels, run.plan.grid, run.plan.halo


def measure_seams(segmenter: Segmenter, array: np.ndarray, request: PlanRequest, unit: Unit | str | None = None,
                  truth: np.ndarray | None = None) -> SeamReport:
    """Segment a scene in memory three times: with a grid, with the grid half a core on, and as one tile.

    Args:
        array: (bands, rows, cols); one tile over all of it must fit the memory.
        request: tile and halo to judge.
        truth: (rows, cols) uint8 class numbers, 255 = not known.
    Raises:
        GridError: the tile leaves no core, or tile and halo do not fit the network's stride.
    """
    labels, grid, halo = stitched_labels(segmenter, array, request, unit)
    stride = segmenter.spec.stride_px
    shift = (grid.core_rows // 2 // stride * stride, grid.core_cols // 2 // stride * stride)
    shifted, _, _ = stitched_labels(segmenter, array, replace(request, offset=shift), unit)
    whole, _, _ = stitched_labels(segmenter, array, whole_request(segmenter, *labels.shape), unit)
    borders = Borders.of(grid)
    return SeamReport(
        (grid.core_rows + 2 * grid.halo_px, grid.core_cols + 2 * grid.halo_px), halo, grid.halo_px, seam_ratio(labels, borders),
        seam_ratio(whole, borders), disagreement(labels, shifted), disagreement(labels, whole),
        None if truth is None else border_drop(truth, labels, borders, segmenter.spec.classes))


def _distance(size: int, borders: tuple[int, ...], pixels: bool = False) -> np.ndarray:
    """(size,) how far each pair of neighbours lies from the nearest border, or (`pixels`) each pixel, which touches it at 1."""
    if not borders:
        return np.full(size, np.iinfo(np.int64).max)
    index = np.arange(size)
    if not pixels:
        return np.min([np.abs(index + 1 - at) for at in borders], axis=0)
    return np.min([np.where(index < at, at - index, index - at + 1) for at in borders], axis=0)
