"""The stages of a run on a CUDA device: stored pixels go up, labels come down, and what is between never leaves it.

Batches go round a few slots, each a stream with its own memory and its own engine context; a strip's pixels go up and its labels come
down on streams of their own. Order between streams is by events alone. The host waits for three things: whether tiles hold a valid
pixel, which is known a batch ahead; the labels of the strip before last; and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from hfd_edge.device_array import DeviceArray
from hfd_edge.device_memory import CudaDevice
from hfd_edge.device_pool import DevicePool, DeviceSlotMemory, StripMemory, StripShape
from hfd_edge.errors import DeviceError, EngineError, GridError
from hfd_edge.run import DeviceMaps, Run, Window
from hfd_edge.source_device import DeviceArraySource
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import Strip, Tile

_STRIPS_LATE = 1            # strips whose labels are on their way down while the next one is worked on


@dataclass(slots=True)
class _Part:
    """A strip on the device."""

    strip: Strip
    memory: StripMemory
    scene: Any                          # native.Scene
    answered: int = 0                   # pixels of tiles that were answered
    numbers: dict[int, int] = field(default_factory=dict)      # first column of a tile -> its place in the counts
    run: int = 0
    empty: int = 0


@dataclass(frozen=True, slots=True)
class _Begun:
    part: _Part
    tiles: list[Tile]
    slot: DeviceSlotMemory


@dataclass(frozen=True, slots=True)
class DeviceStrip:
    """A finished strip in main memory; of a scene on the device its map is in run.maps alone."""

    strip: Strip
    labels: np.ndarray | None
    confidence: np.ndarray | None


class DeviceStages:
    """Gather, engine and finish on one device; see run_stages.Stages."""

    def __init__(self, run: Run, pool: DevicePool, spec: ModelSpec, take_back: Callable[[DevicePool], None]) -> None:
        """`take_back` is called with the pool when the run is over. Raises EngineError where the engine cannot be asked for the plan's tiles, or the plan wants what only the CPU does."""
        if run.plan.blend is not None:
            raise EngineError("this run blends tiles, which is done on the CPU alone: use stitch='crop', or device='cpu'")
        if run.vector is not None:
            raise EngineError("this network is told of the whole scene (scene_percentiles), which engines on a GPU are not yet: run it "
                              "with device='cpu'")
        self._run, self._pool, self._gpu, self._spec = run, pool, pool.gpu, spec
        grid = run.plan.grid
        self._size = grid.core_rows + 2 * grid.halo_px, grid.core_cols + 2 * grid.halo_px
        self._slots = pool.slots(run.plan.batch, *self._size)
        self.ahead = len(self._slots) - 1
        self._take_back = take_back
        strips = list(grid.strips())
        self._most_read, self._most_kept = max(s.read_rows for s in strips), max(s.rows for s in strips)
        self._turn = 0
        self._closed: deque[_Part] = deque()
        self._open: list[StripMemory] = []
        self._scene: Any = None

    def open(self, window: Window) -> _Part:
        run, gpu, strip, up = self._run, self._gpu, window.strip, self._pool.up
        shape = self._shape_of(window)
        with run.watch("upload"):
            memory = self._pool.strip(self._largest(shape), shape)
            self._open.append(memory)
            gpu.fill(memory.counts.ptr, 0, memory.counts.nbytes, up)
            scene = self._foreign_scene() if run.maps is not None else self._upload(window, memory)
            memory.arrived.record(up)
        part = _Part(strip, memory, scene)
        part.numbers.update((tile.in_col, number) for number, tile in enumerate(strip.tiles))
        return part

    def _shape_of(self, window: Window) -> StripShape:
        """What the strip's memory must hold; of a scene on the device nothing but counts."""
        cols, tiles = self._run.plan.grid.kept[3], len(window.strip.tiles)
        if self._run.maps is not None:
            return StripShape((self._run.source.count, 0, 0), np.dtype(np.uint8), False, (window.strip.rows, cols), tiles, in_place=True)
        return StripShape(window.values.shape, window.values.dtype, window.valid is not None, (window.strip.rows, cols), tiles)

    def _upload(self, window: Window, memory: StripMemory) -> Any:
        gpu, up, source = self._gpu, self._pool.up, self._run.source
        np.copyto(memory.values_host, window.values)
        gpu.copy_in(memory.values.ptr, memory.values_host, up)
        if window.valid is not None:
            np.copyto(memory.valid_host, window.valid, casting="unsafe")
            gpu.copy_in(memory.valid.ptr, memory.valid_host, up)
        return memory.scene(gpu.native, (window.strip.read_row, window.col), (source.rows, source.cols))

    def _foreign_scene(self) -> Any:
        if self._scene is None:
            self._run.source.order_after_caller(self._pool.up)
            self._scene = self._run.source.scene()
        return self._scene

    def _largest(self, shape: StripShape) -> StripShape:
        """The shape of the run's largest strip, of which this is one."""
        bands, rows, cols = shape.values
        rows = 0 if shape.in_place else max(rows, self._most_read)
        return replace(shape, values=(bands, rows, cols), labels=(self._most_kept, shape.labels[1]))

    def begin(self, part: _Part, tiles: list[Tile]) -> _Begun:
        slot, gpu = self._slots[self._turn % len(self._slots)], self._gpu
        self._turn += 1
        if (tiles[0].in_rows, tiles[0].in_cols) != self._size:
            raise GridError(f"tile of {tiles[0].in_rows} x {tiles[0].in_cols} in a grid of {self._size}: on a GPU all tiles have one "
                            "size; please report it with the scene's size")
        places = [(t.in_row, t.in_col, *t.crop, t.rows, t.cols) for t in tiles]
        with self._run.watch("gather"):
            gpu.wait(slot.stream, part.memory.arrived)
            gpu.fill(slot.seen.ptr, 0, slot.seen.nbytes, slot.stream)
            self._run.gather.run(part.scene, places, self._size, slot.tile_memory, slot.status_memory, slot.seen_memory,
                                 (gpu.index, slot.stream))
            gpu.copy_out(slot.seen_host, slot.seen.ptr, slot.stream)
            slot.gathered.record(slot.stream)
        return _Begun(part, tiles, slot)

    def answer(self, begun: _Begun) -> None:
        slot, part, tiles = begun.slot, begun.part, begun.tiles
        with self._run.watch("wait"):
            slot.gathered.synchronize()
        seen = slot.seen_host[:len(tiles)] != 0
        with self._run.watch("engine"):
            if seen.any():
                self._enqueue(slot, tiles[0])
        with self._run.watch("finish"):
            self._finish(slot, part, tiles)
        part.run += int(seen.sum())
        part.empty += int((~seen).sum())
        part.answered += sum(tile.rows * tile.cols for tile in tiles)

    def _enqueue(self, slot: DeviceSlotMemory, first: Tile) -> None:
        try:
            slot.engine.enqueue(slot.tile.ptr, slot.logits.ptr, slot.stream)
        except EngineError as error:
            raise EngineError(f"tile at row {first.row}, column {first.col} ({first.in_rows} x {first.in_cols} with halo): "
                              f"{error}") from error

    def _finish(self, slot: DeviceSlotMemory, part: _Part, tiles: list[Tile]) -> None:
        gpu, memory, (first_row, first_col, _, cols) = self._gpu, part.memory, self._run.plan.grid.kept
        maps, row = (memory, 0) if self._run.maps is None else (self._run.maps, part.strip.row - first_row)
        kept = [(*t.crop, t.rows, t.cols, row * cols + t.col - first_col) for t in tiles]
        labels = (maps.labels.ptr, maps.labels.nbytes, cols)
        confidence = (maps.confidence.ptr, maps.confidence.nbytes, cols) if self._run.confidence else None
        number = part.numbers[tiles[0].in_col]
        gpu.native.finish(slot.logits_memory, slot.engine.output_shape[1:], self._spec.logit_stride_px, slot.status_memory, kept,
                          labels, confidence, (memory.counts.ptr + 16 * number, 16 * len(tiles)), (gpu.index, slot.stream))
        slot.finished.record(slot.stream)
        gpu.wait(self._pool.down, slot.finished)

    def close(self, part: _Part) -> list[DeviceStrip]:
        memory, down = part.memory, self._pool.down
        if part.answered != part.strip.rows * memory.shape.labels[1]:
            raise GridError(f"strip at row {part.strip.row}: {part.answered} of {part.strip.rows * memory.shape.labels[1]} pixels were "
                            "labelled: every pixel belongs to exactly one tile; please report it with the scene's size and tile")
        if self._run.maps is None:
            self._gpu.copy_out(memory.labels_host, memory.labels.ptr, down)
        if self._run.maps is None and self._run.confidence:
            self._gpu.copy_out(memory.confidence_host, memory.confidence.ptr, down)
        self._gpu.copy_out(memory.counts_host, memory.counts.ptr, down)
        memory.done.record(down)
        self._closed.append(part)
        return self._collect(_STRIPS_LATE)

    def end(self) -> list[DeviceStrip]:
        return self._collect(0)

    def _collect(self, left: int) -> list[DeviceStrip]:
        found = []
        while len(self._closed) > left:
            part = self._closed.popleft()
            with self._run.watch("wait"):
                part.memory.done.synchronize()
            found.append(self._taken(part))
        return found

    def _taken(self, part: _Part) -> DeviceStrip:
        memory, counts = part.memory, self._run.counts
        labels = confidence = None
        with self._run.watch("download"):
            if self._run.maps is None:
                labels, confidence = self._run.rows().of(part.strip)
                np.copyto(labels, memory.labels_host)
            if confidence is not None:
                np.copyto(confidence, memory.confidence_host)
        nodata, nan = memory.counts_host.sum(axis=0)
        counts.written += part.answered
        counts.nodata += int(nodata)
        counts.nan += int(nan)
        counts.tiles_run += part.run
        counts.tiles_empty += part.empty
        self._open.remove(memory)
        self._pool.give_back(memory)
        return DeviceStrip(part.strip, labels, confidence)

    def release(self) -> None:
        """Wait for what the device still does with this run's memory, which the next run may use then."""
        try:
            for stream in (self._pool.up, *(slot.stream for slot in self._slots), self._pool.down):
                self._gpu.synchronize(stream)
        except DeviceError:
            self._pool.broken = True            # told by what waited for it, or by the next run, which makes everything anew
        for memory in self._open:
            self._pool.give_back(memory)
        self._open.clear()
        self._take_back(self._pool)


class GpuRuns:
    """The device of one Segmenter: gives every run a pool of its own, used again when the run is over."""

    def __init__(self, device: str, engine: Any, spec: ModelSpec) -> None:
        """Raises DeviceError where the device cannot be used."""
        self.gpu = CudaDevice(int(device.partition(":")[2] or 0))
        self._engine, self._spec = engine, spec
        self._lock = threading.Lock()
        self._spare: list[DevicePool] = []

    @property
    def native(self) -> ModuleType:
        return self.gpu.native

    def stages(self, run: Run) -> DeviceStages:
        """Stages for one run; two threads get pools of their own."""
        with self._lock:
            pool = self._spare.pop() if self._spare else None
        if pool is None:
            spec = self._spec
            pool = DevicePool(self.gpu, self._engine, len(spec.bands), len(spec.classes), spec.logit_stride_px)
        return DeviceStages(run, pool, self._spec, self._take_back)

    def source(self, array: object, valid: object | None, stream: object) -> DeviceArraySource:
        """A scene that lies on this device."""
        return DeviceArraySource(array, len(self._spec.bands), valid, self.gpu, stream)

    def maps(self, source: DeviceArraySource, confidence: bool) -> DeviceMaps:
        """Where the map of such a scene is made."""
        shape = (source.rows, source.cols)
        return DeviceMaps(DeviceArray(self.gpu, shape, np.uint8), DeviceArray(self.gpu, shape, np.uint8) if confidence else None)

    def _take_back(self, pool: DevicePool) -> None:
        if pool.broken:
            return
        with self._lock:
            self._spare.append(pool)

    def close(self) -> None:
        """Free the pools that no run uses."""
        with self._lock:
            while self._spare:
                self._spare.pop().close()
