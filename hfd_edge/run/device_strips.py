"""Strips of a scene on their way to a CUDA device: staged in pinned memory, sent up, filtered there where the network wants it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfd_edge.device.pool import DevicePool, StripMemory, StripShape
from hfd_edge.run import Run, Window
from hfd_edge.run.device_filter import DeviceFilter
from hfd_edge.source.filter import FilteredSource
from hfd_edge.tiles import Strip


@dataclass(frozen=True, slots=True)
class StagedStrip:
    """A strip whose stored pixels wait in pinned memory; of a scene on the device, one with memory for its counts."""

    strip: Strip
    memory: StripMemory
    place: tuple[int, int]              # scene row and column of the first stored pixel


class DeviceStrips:
    """The strips of one run."""

    def __init__(self, run: Run, pool: DevicePool) -> None:
        self._run, self._pool, self._gpu = run, pool, pool.gpu
        grid, blend = run.plan.grid, run.plan.blend
        strips = list(grid.strips())
        self.count = len(strips)
        self._most_read, self._most_kept = max(s.read_rows for s in strips), max(s.rows for s in strips)
        self._filter = DeviceFilter(run.source, pool, self._most_read) if isinstance(run.source, FilteredSource) else None
        self._stored = run.source if self._filter is None else run.source.source
        self._cells = (0, 0) if blend is None else (grid.read_cols[1] + 2 * grid.core_cols, len(blend.rows))
        self._foreign: Any = None
        self._held: list[StripMemory] = []
        self._returned: deque[tuple[int, StripMemory]] = deque()        # with how many strips were sent by then
        self._staged = self._sent = 0

    def stage(self, window: Window) -> StagedStrip:
        """Copy a strip's stored pixels into pinned memory; in whichever thread reads, at most one strip ahead.

        It takes only memory that was given back before the last strip but one was sent, as that is known to be over: so how much
        memory a run needs does not depend on which thread is faster.
        """
        shape = self._shape_of(window)
        with self._run.watch("stage"):
            while self._returned and self._returned[0][0] < self._staged:
                self._pool.give_back(self._returned.popleft()[1])
            self._staged += 1
            memory = self._pool.strip(self._largest(shape), shape)
            self._held.append(memory)
            if window.values is not None:
                self._pool.copies.copy(memory.values_host, window.values)
            if window.valid is not None:
                self._pool.copies.copy(memory.valid_host, window.valid)
        return StagedStrip(window.strip, memory, (window.row, window.col))

    def upload(self, staged: StagedStrip) -> Any:
        """Enqueue what makes the strip ready on the device, `staged.memory.arrived` at its end; gives what gather reads."""
        gpu, up, memory, strip = self._gpu, self._pool.up, staged.memory, staged.strip
        with self._run.watch("upload"):
            self._sent += 1
            gpu.fill(memory.counts.ptr, 0, memory.counts.nbytes, up)
            scene = self._scene_on_device() if self._run.maps is not None else self._copied(staged)
            if self._filter is not None:
                scene = self._filter.enqueue(scene, strip, staged.place, memory)
            memory.arrived.record(up)
        return scene

    def give_back(self, memory: StripMemory) -> None:
        """For a later strip; the device has done with it."""
        self._held.remove(memory)
        self._returned.append((self._sent, memory))

    def end(self) -> None:
        """Give back everything; the device and the reading thread have done with it."""
        for memory in (*self._held, *(memory for _, memory in self._returned)):
            self._pool.give_back(memory)
        self._held.clear()
        self._returned.clear()

    def _copied(self, staged: StagedStrip) -> Any:
        memory, up = staged.memory, self._pool.up
        self._gpu.copy_in(memory.values.ptr, memory.values_host, up)
        if memory.shape.masked:
            self._gpu.copy_in(memory.valid.ptr, memory.valid_host, up)
        return memory.scene(self._gpu.native, staged.place, (self._stored.rows, self._stored.cols))

    def _scene_on_device(self) -> Any:
        if self._foreign is None:
            self._stored.order_after_caller(self._pool.up)
            self._foreign = self._stored.scene()
        return self._foreign

    def _shape_of(self, window: Window) -> StripShape:
        """What the strip's memory must hold; of a scene on the device nothing that is stored."""
        strip, cols = window.strip, self._run.plan.grid.kept[3]
        in_place = self._run.maps is not None
        shape = (self._stored.count, 0, 0) if in_place else window.values.shape
        wide = 0 if self._filter is None else self._stored.cols if in_place else shape[2]
        return StripShape(shape, np.dtype(np.uint8) if in_place else window.values.dtype, window.valid is not None, (strip.rows, cols),
                          len(strip.tiles), in_place, (strip.read_rows, wide), self._cells)

    def _largest(self, shape: StripShape) -> StripShape:
        """The shape of the run's largest strip, of which this is one."""
        bands, rows, cols = shape.values
        halo = 0 if self._filter is None else 2 * self._filter.halo_px
        rows = 0 if shape.in_place else max(rows, self._most_read + halo)
        return replace(shape, values=(bands, rows, cols), labels=(self._most_kept, shape.labels[1]),
                       filtered=(self._most_read, shape.filtered[1]))
