"""A scene as a network that was trained on filtered pixels must see it: linear intensity, filtered once, before everything else.

`FilteredSource` stands in front of any source. The filter's own halo is read from the scene beyond the rows and columns that are
asked for, so a filtered pixel never depends on tiles; gather then reflects *filtered* pixels at the scene's border. So "whole" is:
filter the scene, then run the network over it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from hfd_edge.errors import ArrayError, RadiometryError
from hfd_edge.plan import SceneShape
from hfd_edge.radiometry import SourceRadiometry, gathered, linear_power, make_gather
from hfd_edge.source import Source, WindowReader, window_reader
from hfd_edge.source.device import DeviceArraySource
from hfd_edge.source.vector import count_scene, percentiles_of
from hfd_edge.spec import ModelInput, Unit
from hfd_edge.speckle import NEED_LOOKS, SpeckleFilter
from hfd_edge.stitch import STATUS_NODATA
from hfd_edge.text import Note

_BRIGHT_PERCENT = 98.0

Watch = Callable[[str], AbstractContextManager]     # measures the block under a stage's name; a pipeline.Stopwatch


def filtered_input(source: Source, radiometry: SourceRadiometry, model: ModelInput, threads: int,
                   watch: Watch = nullcontext, allow_empty: bool = False) -> tuple[Source, SourceRadiometry]:
    """What a network takes its pixels from: the scene itself, or the scene filtered as `model.speckle_filter` says.

    Args:
        source, radiometry: the scene and what its pixels are, checked.
        watch: where the seconds of filtering and of the scene pass are added up.
        allow_empty: whether a scene may be without one valid pixel.
    Returns:
        A source and what its pixels are: the same two where the network was trained without a filter, else a FilteredSource and
        linear intensity. Improved Lee sigma without `filter_bright` costs one more read of the scene here.
    Raises:
        RadiometryError: digital numbers have no intensity, the filter's numbers contradict themselves, or no pixel is valid.
    """
    if model.speckle_filter == "none":
        return source, radiometry
    bright = model.filter_bright
    if model.speckle_filter == "lee_sigma" and bright is None:
        with watch("scene"):
            counts = count_scene(source, radiometry, threads, allow_empty)
            bright = (1.0,) if counts.empty else tuple(percentiles_of(counts, (_BRIGHT_PERCENT,))[:, 0])     # 1.0: for no pixel
    made = FilteredSource(source, radiometry, filter_of(model, bright), threads, watch)
    return made, replace(radiometry, unit=Unit.INTENSITY, scale=1.0, offset=0.0, nodata=(), saturation=None)


def filter_of(model: ModelInput, bright: tuple[float, ...] | None = None) -> SpeckleFilter:
    """The filter that a network was trained behind, its numbers checked.

    Args:
        bright: of improved Lee sigma, the scene's 98th percentiles; None = the model's own.
    Raises:
        RadiometryError: a number is missing or out of its range, or the network takes digital numbers.
    """
    name = model.speckle_filter
    if model.unit is Unit.DN:
        raise RadiometryError(f"input.speckle_filter={name!r} with input.unit=dn: filters work on linear intensity, which digital "
                              "numbers have not; declare what the pixels are")
    if name == "lee_sigma" and bright is None:
        bright = model.filter_bright or (1.0,) * model.bands        # to check the other numbers; a run takes the scene's
    looks = model.filter_looks if model.filter_looks is not None else model.looks
    try:
        return SpeckleFilter(name, looks if name in NEED_LOOKS else None, model.filter_radius, model.filter_border,
                             model.filter_damping, model.filter_sigma, bright)
    except ArrayError as error:
        raise RadiometryError(f"input.speckle_filter={name!r}: {error}") from error


def check_filter(model: ModelInput) -> None:
    """Refuse a network whose filter cannot run, before a scene is opened. Raises RadiometryError as filter_of does."""
    if model.speckle_filter != "none":
        filter_of(model)


def scene_shape(source: Source, windows_held: int) -> SceneShape:
    """What a plan must know of a scene; a filtered one is held even where its stored pixels are an array at hand, one on a GPU never."""
    held, stored = windows_held, 0 if isinstance(source, DeviceArraySource) else source.count * source.dtype.itemsize
    if isinstance(source, FilteredSource):
        held, stored = max(windows_held, 1), 0 if isinstance(source.source, DeviceArraySource) else source.bytes_per_px
    return SceneShape(source.rows, source.cols, stored, held, min(getattr(source, "block_rows", 1), source.rows) - 1)


def filter_notes(source: Source, saturation: float | None = None) -> tuple[str, ...]:
    """A sentence for the report about the filter that ran; () where none did. `saturation`: of the stored pixels."""
    if not isinstance(source, FilteredSource):
        return ()
    unseen = "; saturated pixels were not counted behind it: hfd-edge scene does" if saturation is not None else ""
    return (Note("filtered", f"the network was trained on filtered pixels: linear intensity was filtered by {words_of(source.filter)}, whose halo of "
                             f"{source.filter.halo_px} px was read from the scene beyond the tiles' own{unseen}"),)


def stored_behind(source: Source) -> tuple[Source, int]:
    """What a device that filters by itself reads: the source of stored pixels, and how far the filter sees."""
    return (source.source, source.filter.halo_px) if isinstance(source, FilteredSource) else (source, 0)


def widened(span: tuple[int, int], halo: int, size: int) -> tuple[int, int]:
    """First and number of a span with a halo on both sides, as far as the scene goes."""
    first, last = max(0, span[0] - halo), min(size, span[0] + span[1] + halo)
    return first, last - first


def words_of(chosen: SpeckleFilter) -> str:
    """Such as "lee (radius 3, border mask, looks 4.4)"."""
    numbers = [f"radius {chosen.radius}", f"border {chosen.border}"]
    numbers += [f"looks {chosen.looks:g}"] if chosen.looks is not None else []
    numbers += [f"damping {chosen.damping:g}"] if chosen.name == "frost" else []
    if chosen.name == "lee_sigma":
        numbers += [f"sigma {chosen.sigma:g}", "bright " + "/".join(f"{value:.4g}" for value in chosen.bright)]
    return f"{chosen.name} ({', '.join(numbers)})"


class FilteredSource:
    """A scene as filtered linear intensity: float32, NaN where it has no value; see hfd_edge.source.Source."""

    dtype = np.dtype(np.float32)

    def __init__(self, source: Source, radiometry: SourceRadiometry, chosen: SpeckleFilter, threads: int, watch: Watch) -> None:
        """`source` may be read by one window reader at a time and by `read`."""
        self.source, self.filter, self.threads, self.watch = source, chosen, threads, watch
        self.rows, self.cols, self.count = source.rows, source.cols, source.count
        self._radiometry = radiometry
        self._gather = self.to_intensity()

    def to_intensity(self, *module: ModuleType) -> Any:
        """What makes linear intensity of stored pixels; `module`: hfd_edge._cuda for a GPU's."""
        return make_gather(self._radiometry, linear_power(self.count), *module)

    @property
    def bytes_per_px(self) -> int:
        """Of a window that is being made: stored pixels, their intensity, its filtered twin, and validity."""
        return self.count * (self.source.dtype.itemsize + 2 * self.dtype.itemsize) + 2

    @property
    def block_rows(self) -> int:
        return getattr(self.source, "block_rows", 1)

    @property
    def stored_block(self) -> tuple[int, int]:
        """Whole rows: a filter's halo makes parts of a row dear."""
        return getattr(self.source, "stored_block", (1, 1))[0], self.cols

    def read(self, row: int, rows: int) -> tuple[np.ndarray, None]:
        return self.filtered(self.source, row, rows), None

    def reader(self, col: int, cols: int, whole_blocks: bool) -> WindowReader:
        """Windows of these columns from top to bottom; what two windows share is read and filtered once."""
        return _FilteredRows(self, col, cols, whole_blocks)

    def filtered(self, reader: WindowReader, row: int, rows: int) -> np.ndarray:
        """(bands, rows, columns of the reader): its columns at an inner end lack the filter's halo, and are the caller's to drop."""
        first, count = widened((row, rows), self.filter.halo_px, self.rows)
        with self.watch("read"):
            values, valid = reader.read(first, count)
        with self.watch("filter"):
            intensity, status = gathered(self._gather, values, valid, self.threads)
            return self.filter.apply(intensity, (status != STATUS_NODATA).view(np.uint8), (row - first, rows), self.threads)


class _FilteredRows:
    """Windows of some columns; holds the filtered rows of the last one."""

    def __init__(self, scene: FilteredSource, col: int, cols: int, whole_blocks: bool) -> None:
        self._scene = scene
        self._reader, known_col = window_reader(scene.source, *widened((col, cols), scene.filter.halo_px, scene.cols), whole_blocks)
        self._cols = slice(col - known_col, col - known_col + cols)
        self._row, self._values = 0, np.empty((scene.count, 0, cols), np.float32)

    def read(self, row: int, rows: int) -> tuple[np.ndarray, None]:
        end = self._row + self._values.shape[1]
        if not self._row <= row <= end:
            self._values, self._row, end = self._values[:, :0], row, row
        if row + rows > end:
            more = self._scene.filtered(self._reader, end, row + rows - end)
            self._values = np.concatenate([self._values[:, row - self._row:], more[:, :, self._cols]], axis=1)
            self._row = row
        at = row - self._row
        return self._values[:, at:at + rows], None
