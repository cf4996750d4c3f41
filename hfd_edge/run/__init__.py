"""One scene on its way through the stages: what each stage hands to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfd_edge._native import Gather
from hfd_edge.engine.base import Engine, PixelBytes
from hfd_edge.errors import EmptySceneError, EngineError, HfdError
from hfd_edge.pipeline import Stopwatch
from hfd_edge.plan import TilePlan
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.source import Source
from hfd_edge.source.offset import TrainingOffset
from hfd_edge.source.saturation import saturated
from hfd_edge.spec import ModelSpec
from hfd_edge.stitch import STATUS_NODATA, CropFrame, CropStitch, MapRows, PixelCounts
from hfd_edge.stitch.blend import BlendFrame, BlendStitch
from hfd_edge.tiles import Strip, Tile


LOOK_ROWS = 16          # of a tile at a time, for a pixel with a value: mostly the first ones have one


@dataclass(frozen=True, slots=True)
class Window:
    """Stored pixels of one strip with all its halos, as read; a filter's halo on a GPU is one of them."""

    strip: Strip
    values: np.ndarray | None       # (bands, rows read, columns read); None = they lie on a GPU
    valid: np.ndarray | None        # (rows read, columns read)
    row: int                        # scene row and column of the first one read
    col: int


@dataclass(frozen=True, slots=True)
class DeviceMaps:
    """The map of a scene whose pixels lie on a GPU: device.array.DeviceArray of (rows, cols) uint8."""

    labels: Any
    score: Any                              # or None


@dataclass(slots=True)
class Run:
    """One scene on its way through the stages."""

    source: Source
    gather: Gather
    plan: TilePlan
    score: int | None                       # whose probability is told beside the labels, see `hfd_edge.score`
    notes: tuple[str, ...] = ()
    maps: DeviceMaps | None = None          # of a scene on a GPU: where its map is made; None = strips come to the host
    offset: TrainingOffset | None = None    # of the scene against the training data; None = cannot be told
    stored: SourceRadiometry | None = None  # what the stored pixels are where saturated ones are counted; None = they are not
    into: tuple[np.ndarray, np.ndarray | None] | None = None        # labels and score of the whole scene in main memory; None = strips have their own
    vector: np.ndarray | None = None        # what the network is told of the whole scene, (1, n) float32; None = nothing
    allow_empty: bool = False               # whether a map of nothing but nodata is an answer
    watch: Stopwatch = field(default_factory=Stopwatch)
    counts: PixelCounts = field(default_factory=PixelCounts)
    _batch: np.ndarray | None = None
    _statuses: np.ndarray | None = None

    def answer(self, engine: Engine, batch: np.ndarray) -> np.ndarray:
        """An engine's logits of a batch, with the scene's vector where the network takes one.

        Raises:
            EngineError: the network takes one and the engine does not, or the engine fails.
        """
        if self.vector is None:
            return engine.infer(batch)
        if not getattr(engine, "takes_scene", False):
            raise EngineError(f"{engine.name} runs {engine.graph} without its second input, and this network is told of the whole "
                              "scene (scene_percentiles): run it with device='cpu'")
        return engine.infer(batch, self.vector)

    def counted(self, window: Window) -> Window:
        """The window, its strip's own pixels at the end of their scale counted; its halo belongs to other strips."""
        if self.stored is None:
            return window
        _, col, _, cols = self.plan.grid.kept
        row, strip = window.strip.row - window.row, window.strip
        own = (slice(row, row + strip.rows), slice(col - window.col, col - window.col + cols))
        valid = None if window.valid is None else window.valid[own]
        self.counts.saturated += int(np.count_nonzero(saturated(window.values[(slice(None), *own)], valid, self.stored)))
        return window

    def ended(self) -> tuple[str, ...]:
        """What the report says of the counts, once every strip is finished.

        Raises:
            EmptySceneError: not one pixel is valid, and that was not allowed.
            HfdError: a pixel was not written, or twice.
        """
        *_, rows, cols = self.plan.grid.kept
        if self.counts.written != rows * cols:
            raise HfdError(f"{self.counts.written} of {rows * cols} pixels were written: every pixel must be written exactly once; please "
                           "report this scene's size")
        if self.counts.nodata < rows * cols:
            return ()
        nothing = f"not one of the {rows} x {cols} pixels is valid: all are NaN or nodata"
        if not self.allow_empty:
            raise EmptySceneError(f"{nothing}; check the nodata value, the unit and the band order, there is nothing to segment")
        return (f"{nothing}, and so is the map",)

    def rows(self) -> MapRows:
        """Where finished strips lie."""
        return MapRows(self.plan.grid.kept[3], self.score, self.into)

    def stitch(self, spec: ModelSpec, threads: int) -> CropStitch | BlendStitch:
        """What makes finished strips of this run's tiles."""
        grid, blend = self.plan.grid, self.plan.blend
        col, rows = grid.kept[1], self.rows()
        if blend is None:
            return CropStitch(CropFrame(col, rows, spec.logit_stride_px, threads), self.counts)
        frame = BlendFrame(grid, blend, len(spec.classes), spec.logit_stride_px, rows, threads)
        return BlendStitch(frame, self.counts)

    def buffers(self, tiles: int, rows: int, cols: int, by: PixelBytes | None) -> tuple[np.ndarray, np.ndarray]:
        """Network input and validity (tiles, rows, cols) uint8, for one batch at a time.

        Returns:
            the input as (tiles, bands, rows, cols) float32, or as `by` says.
        """
        pixels, bands, kind = tiles * rows * cols, self.source.count, np.float32 if by is None else np.uint8
        if self._statuses is None or self._statuses.size < pixels:
            self._batch, self._statuses = np.empty(pixels * bands, kind), np.empty(pixels, np.uint8)
        shape = (tiles, bands, rows, cols) if by is None else (tiles, rows // 2, cols // 2, 4 * bands)
        return self._batch[:pixels * bands].reshape(shape), self._statuses[:pixels].reshape(tiles, rows, cols)

    def gather_tile(self, window: Window, tile: Tile, out: tuple[np.ndarray, np.ndarray], by: PixelBytes | None, threads: int) -> None:
        """One tile of a window in main memory to its places in the `buffers`."""
        place = ((window.row, window.col), (self.source.rows, self.source.cols), (tile.in_row, tile.in_col))
        if by is None:
            self.gather.run(window.values, *place, *out, window.valid, threads)
        else:
            self.gather.run_bytes(window.values, *place, *out, window.valid, by.scale, by.zero_point, threads)


def equal_shapes(tiles: tuple[Tile, ...], most: int) -> Iterator[list[Tile]]:
    """Consecutive tiles of one input shape, at most `most` at a time."""
    group: list[Tile] = []
    for tile in tiles:
        if group and (len(group) == most or (tile.in_rows, tile.in_cols) != (group[0].in_rows, group[0].in_cols)):
            yield group
            group = []
        group.append(tile)
    yield group


def has_valid_pixel(tile: Tile, status: np.ndarray) -> bool:
    """Whether a pixel has a value where the tile is looked at."""
    row, col, rows, cols = tile.look
    part = status[row:row + rows, col:col + cols]
    return any((part[first:first + LOOK_ROWS] != STATUS_NODATA).any() for first in range(0, rows, LOOK_ROWS))
