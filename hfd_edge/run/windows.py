"""The first stage of a run: stored pixels, strip by strip, from wherever the scene lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from hfd_edge.run import Run, Window
from hfd_edge.source import window_reader
from hfd_edge.source.device_counts import SaturatedPixels
from hfd_edge.source.filter import FilteredSource, stored_behind, widened


def windows_of(run: Run, on_device: bool) -> Iterator[Window]:
    """Windows from top to bottom; of a scene on a GPU they are read where they lie.

    Args:
        on_device: whether the run's device filters by itself: then windows hold stored pixels, with the filter's halo too.
    """
    if run.maps is not None:
        yield from _windows_in_place(run)
        return
    source, halo = stored_behind(run.source) if on_device else (run.source, 0)
    reader, first_col = window_reader(source, *widened(run.plan.grid.read_cols, halo, source.cols), run.plan.rows_below > 0)
    for strip in run.plan.grid.strips():
        row, rows = widened((strip.read_row, strip.read_rows), halo, source.rows)
        with nullcontext() if isinstance(source, FilteredSource) else run.watch("read"):            # that one times itself
            values, valid = reader.read(row, rows)
        yield run.counted(Window(strip, values, valid, row, first_col))


def _windows_in_place(run: Run) -> Iterator[Window]:
    """Strips of a scene on a GPU, whose pixels stay where they lie; saturated ones are counted beside what the run does."""
    beside = None if run.stored is None else SaturatedPixels(run.source, run.stored)
    yield from (Window(strip, None, None, strip.read_row, 0) for strip in run.plan.grid.strips())
    if beside is not None:
        run.counts.saturated = beside.total()
