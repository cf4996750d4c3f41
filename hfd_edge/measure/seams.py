"""What a grid of tiles does to a map: seams, dependence on where the grid lies, and what one tile over the scene says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError
from hfd_edge.measure.accuracy import accuracy_of
from hfd_edge.measure.flips import Flips, flips_of
from hfd_edge.measure.seam_ratio import GUARD_PX, Borders, SeamRatio, distances, seam_ratio, seam_z_against
from hfd_edge.measure.tiling import whole_request
from hfd_edge.plan import PlanRequest, TilePlan
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.spec import NODATA_LABEL, Unit

NEAR_PX, FAR_PX = 4, 16         # of border_drop


@dataclass(frozen=True, slots=True)
class SeamReport:
    """What was measured of one scene with one grid and one way to stitch."""

    stitch: str
    tile_px: tuple[int, int]
    halo: str
    halo_px: int
    overlap_px: int
    halo_share: float                   # of the engine's work that went into halo and overlap
    seams: SeamRatio
    seams_of_whole: SeamRatio           # at the same places of the map made as one tile: what is no seam
    z_against_whole: float              # of the changes across borders beyond those of that map; 0 where it is the same map
    grid_disagreement: float            # share of valid pixels whose label changes with the grid half a core on
    whole: Flips                        # the tiled map against one tile over the scene
    noise_core: float                   # share of labels that no neighbour has, farther than the halo from any border
    noise_overlap: float                # the same where two tiles were computed; NaN where no pixel is that near
    miou: float | None = None           # None without a truth
    border_drop: float | None = None    # mIoU far from borders minus mIoU beside them; None without a truth

    @property
    def whole_disagreement(self) -> float:
        """Share of valid pixels whose label differs from one tile over the scene."""
        return self.whole.rate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record."""
        return {**asdict(self), "whole": self.whole.to_dict(), "whole_disagreement": self.whole_disagreement}


@dataclass(frozen=True)
class SeamStudy:
    """A scene with everything that all measurements of it share."""

    segmenter: Segmenter
    array: np.ndarray                   # (bands, rows, cols), as `Segmenter.run` takes it
    unit: Unit | str | SourceRadiometry | None
    whole: np.ndarray                   # (rows, cols) uint8, the map made as one tile
    truth: np.ndarray | None = None     # (rows, cols) uint8 class numbers, 255 = not known

    @classmethod
    def of(cls, segmenter: Segmenter, array: np.ndarray, unit: Unit | str | SourceRadiometry | None = None,
           truth: np.ndarray | None = None) -> SeamStudy:
        """Segment a scene as one tile, which must fit the memory."""
        source = ArraySource(array, len(segmenter.spec.bands))
        whole, _ = stitched_labels(segmenter, array, whole_request(segmenter, source.rows, source.cols), unit)
        return cls(segmenter, array, unit, whole, truth)

    def labels(self, request: PlanRequest) -> tuple[np.ndarray, TilePlan]:
        """The scene's map, cut and stitched as `request` says."""
        return stitched_labels(self.segmenter, self.array, request, self.unit)

    def measure(self, request: PlanRequest) -> SeamReport:
        """Segment the scene twice more: with a grid, and with the grid half a core on.

        Raises:
            GridError: the tile leaves no core, or tile, halo or overlap are not what they can be.
        """
        labels, plan = self.labels(request)
        grid, stride = plan.grid, self.segmenter.spec.stride_px
        shift = (grid.core_rows // 2 // stride * stride, grid.core_cols // 2 // stride * stride)
        shifted, _ = self.labels(replace(request, offset=shift))
        borders = Borders.of(grid)
        core, overlap = label_noise(labels, borders, max(grid.halo_px, GUARD_PX))
        classes, truth = self.segmenter.spec.classes, self.truth
        return SeamReport(
            plan.stitch, grid.tile_px, plan.halo, grid.halo_px, 2 * grid.spread_px, 1 - 1 / plan.compute_ratio,
            seam_ratio(labels, borders), seam_ratio(self.whole, borders), seam_z_against(labels, self.whole, borders),
            disagreement(labels, shifted), flips_of([(self.whole, labels)]), core, overlap,
            None if truth is None else accuracy_of(truth, labels, classes).miou,
            None if truth is None else border_drop(truth, labels, borders, classes))


def smallest_halo(reports: Sequence[SeamReport], wanted: float) -> SeamReport | None:
    """The measurement of the smallest halo that is enough.

    Args:
        reports: of one scene, tile and way to stitch, each with another halo.
        wanted: the rate of labels that may differ from one tile over the scene.
    Returns:
        the smallest halo whose upper bound keeps to `wanted`, as those of all larger ones do; None where not even the largest does.
    """
    kept = None
    for report in sorted(reports, key=lambda report: -report.halo_px):
        if report.whole.bound > wanted:
            break
        kept = report
    return kept


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pixels with a label in either map whose labels differ. Raises ArrayError where the shapes do."""
    if one.shape != other.shape:
        raise ArrayError(f"maps of {one.shape} and {other.shape}: they must be of one scene")
    valid = (one != NODATA_LABEL) | (other != NODATA_LABEL)
    return float((one != other)[valid].mean()) if valid.any() else 0.0


def label_noise(labels: np.ndarray, borders: Borders, within_px: int) -> tuple[float, float]:
    """Share of the pixels whose label none of their four neighbours has: far from borders, and within `within_px` of one.

    Speckle that reaches the map shows as such pixels; a stitching that smooths them away in overlaps alone shows as a difference.
    Pixels at the scene's edge and beside nodata do not count; NaN where no pixel does.
    """
    inner = labels[1:-1, 1:-1]
    around = np.stack([labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]])
    known = (inner != NODATA_LABEL) & (around != NODATA_LABEL).all(axis=0)
    alone = known & (around != inner).all(axis=0)
    near = _border_distance(labels.shape, borders)[1:-1, 1:-1] <= within_px
    return tuple(float(alone[where].sum() / known[where].sum()) if known[where].any() else float("nan") for where in (~near, near))


def border_drop(truth: np.ndarray, labels: np.ndarray, borders: Borders, classes: tuple[str, ...]) -> float:
    """mIoU farther than FAR_PX from every border minus mIoU within NEAR_PX of one; NaN where there are no such pixels.

    Pixels within GUARD_PX of the scene's rim do not count: the network sees less ground there, whatever the tiles, and most of them are far.
    """
    distance = _border_distance(labels.shape, borders)
    inner = _border_distance(labels.shape, Borders(*((0, size) for size in labels.shape))) > GUARD_PX
    far, near = (accuracy_of(np.where(where & inner, truth, np.uint8(NODATA_LABEL)), labels, classes).miou
                 for where in (distance > FAR_PX, distance <= NEAR_PX))
    return float(far - near)


def stitched_labels(segmenter: Segmenter, array: np.ndarray, request: PlanRequest,
                    unit: Unit | str | SourceRadiometry | None = None) -> tuple[np.ndarray, TilePlan]:
    """(labels (rows, cols) uint8, plan) of a scene cut and stitched as `request` says."""
    source = ArraySource(array, len(segmenter.spec.bands))
    run = segmenter.prepare(source, segmenter.declared(unit, source.dtype), request=request)
    labels = np.empty((source.rows, source.cols), np.uint8)
    for part in segmenter.finished_strips(run):
        labels[part.strip.row:part.strip.row + part.strip.rows] = part.labels
    return labels, run.plan


def _border_distance(shape: tuple[int, int], borders: Borders) -> np.ndarray:
    """(rows, cols) of each pixel from the nearest border, which it touches at 1."""
    return np.minimum.outer(*(distances(size, at, pixels=True) for size, at in zip(shape, (borders.rows, borders.cols))))
