"""One scene on its way through the stages: what each stage hands to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfd_edge._native import Gather
from hfd_edge.errors import EmptySceneError, HfdError, RadiometryError
from hfd_edge.pipeline import Stopwatch
from hfd_edge.plan import TilePlan
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.source import Source
from hfd_edge.source.offset import TrainingOffset
from hfd_edge.source.saturation import saturated
from hfd_edge.stitch import MapRows, PixelCounts
from hfd_edge.text import Note
from hfd_edge.tiles import Strip, Tile


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
    at_once: int = 1                        # batches that the engine was asked for beside each other, as the run went on after its trial
    allow_empty: bool = False               # whether a map of nothing but nodata is an answer
    watch: Stopwatch = field(default_factory=Stopwatch)
    counts: PixelCounts = field(default_factory=PixelCounts)

    def __post_init__(self) -> None:
        """Raises RadiometryError where `allow_empty` is neither yes nor no: "no" is true."""
        if not isinstance(self.allow_empty, (bool, np.bool_)):
            raise RadiometryError(f"allow_empty={self.allow_empty!r}: it must be True or False")

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
        return (Note("no_valid_pixel", f"{nothing}, and so is the map"),)

    def rows(self) -> MapRows:
        """Where finished strips lie."""
        return MapRows(self.plan.grid.kept[3], self.score, self.into)


def equal_shapes(tiles: tuple[Tile, ...], most: int) -> Iterator[list[Tile]]:
    """Consecutive tiles of one input shape, at most `most` at a time."""
    group: list[Tile] = []
    for tile in tiles:
        if group and (len(group) == most or (tile.in_rows, tile.in_cols) != (group[0].in_rows, group[0].in_cols)):
            yield group
            group = []
        group.append(tile)
    yield group
