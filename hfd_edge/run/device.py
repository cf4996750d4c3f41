"""The stages of a run on a CUDA device: stored pixels go up, labels come down, and what is between never leaves it.

Batches go round a few slots, each a stream with its own memory and its own engine context; a strip's pixels go up and its labels come
down on streams of their own. Order between streams is by events alone. The host waits for three things: whether tiles hold a valid
pixel, which is known a batch ahead; the labels of the strip before last; and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.device import cuda_index
from hfd_edge.device.array import DeviceArray
from hfd_edge.device.memory import CudaDevice
from hfd_edge.device.pool import DevicePool, DeviceSlotMemory
from hfd_edge.errors import DeviceError, EngineError, GridError
from hfd_edge.run import DeviceMaps, Run, Window
from hfd_edge.run.device_stitch import DeviceBlend, DeviceCrop, DevicePart
from hfd_edge.run.device_strips import DeviceStrips, StagedStrip
from hfd_edge.source.device import DeviceArraySource
from hfd_edge.spec import ModelSpec
from hfd_edge.tiles import Strip, Tile

_STRIPS_LATE = 1            # strips whose labels are on their way down while the next one is worked on


@dataclass(frozen=True, slots=True)
class _Begun:
    part: DevicePart
    tiles: list[Tile]
    slot: DeviceSlotMemory


@dataclass(frozen=True, slots=True)
class DeviceStrip:
    """A finished strip in main memory; of a scene on the device its map is in run.maps alone."""

    strip: Strip
    labels: np.ndarray | None
    score: np.ndarray | None


class DeviceStages:
    """Gather, engine and finish on one device; see run.stages.Stages."""

    def __init__(self, run: Run, pool: DevicePool, spec: ModelSpec, take_back: Callable[[DevicePool, bool], None]) -> None:
        """`take_back` is called with the pool when the run is over, and whether all of its work is done.

        Raises:
            EngineError: the engine cannot be asked for the plan's tiles, or does not take what the network is told of the scene.
            DeviceError: there is not enough memory.
        """
        self._run, self._pool, self._gpu = run, pool, pool.gpu
        self._size = run.plan.grid.tile_px
        self._slots = pool.slots(run.plan.batch, *self._size)
        for slot in self._slots if run.vector is not None else ():
            slot.tell(run.vector)
        self._strips = DeviceStrips(run, pool)
        self._stitch = (DeviceCrop if run.plan.blend is None else DeviceBlend)(run, pool, spec)
        self.ahead, self.stages_ahead = len(self._slots) - 1, self._strips.count > 1
        self._take_back = take_back
        self._turn = 0
        self._closed: deque[DevicePart] = deque()

    def stage(self, window: Window) -> StagedStrip:
        return self._strips.stage(window)

    def open(self, window: StagedStrip) -> DevicePart:
        part = DevicePart(window.strip, window.memory, self._strips.upload(window))
        part.numbers.update((tile.in_col, number) for number, tile in enumerate(window.strip.tiles))
        return part

    def begin(self, part: DevicePart, tiles: list[Tile]) -> _Begun:
        slot, gpu = self._slots[self._turn % len(self._slots)], self._gpu
        self._turn += 1
        if (tiles[0].in_rows, tiles[0].in_cols) != self._size:
            raise GridError(f"tile of {tiles[0].in_rows} x {tiles[0].in_cols} in a grid of {self._size}: on a GPU all tiles have one "
                            "size; please report it with the scene's size")
        places = [(t.in_row, t.in_col, *t.look) for t in tiles]
        with self._run.watch("gather"):
            gpu.wait(slot.stream, part.memory.arrived)
            gpu.wait(slot.stream, slot.finished)            # of the batch before, whose logits may be read on another stream
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
            self._stitch.put(slot, part, tiles, seen)
        part.run += int(seen.sum())
        part.empty += int((~seen).sum())
        part.answered += sum(tile.rows * tile.cols for tile in tiles)

    def _enqueue(self, slot: DeviceSlotMemory, first: Tile) -> None:
        try:
            slot.engine.enqueue(slot.tile.ptr, slot.logits.ptr, slot.stream)
        except EngineError as error:
            raise EngineError(f"tile at row {first.row}, column {first.col} ({first.in_rows} x {first.in_cols} with halo): "
                              f"{error}") from error

    def close(self, part: DevicePart) -> list[DeviceStrip]:
        with self._run.watch("finish"):
            done = list(self._stitch.close(part))
        return self._download(done, _STRIPS_LATE)

    def end(self) -> list[DeviceStrip]:
        with self._run.watch("finish"):
            done = list(self._stitch.end())
        return self._download(done, 0)

    def _download(self, done: list[DevicePart], left: int) -> list[DeviceStrip]:
        """Enqueue the way down of strips whose maps are enqueued; gives those that have come, all but the last `left`."""
        for part in done:
            memory, down = part.memory, self._pool.down
            if self._run.maps is None and part.strip.rows > 0:
                self._gpu.copy_out(memory.labels_host, memory.labels.ptr, down)
                if self._run.score is not None:
                    self._gpu.copy_out(memory.score_host, memory.score.ptr, down)
            self._gpu.copy_out(memory.counts_host, memory.counts.ptr, down)
            memory.done.record(down)
            self._closed.append(part)
        return self._collect(left)

    def _collect(self, left: int) -> list[DeviceStrip]:
        found = []
        while len(self._closed) > left:
            part = self._closed.popleft()
            with self._run.watch("wait"):
                part.memory.done.synchronize()
            if (strip := self._taken(part)) is not None:
                found.append(strip)
        return found

    def _taken(self, part: DevicePart) -> DeviceStrip | None:
        """A strip that has come down; None where it keeps no row and only added to its neighbours'."""
        memory, counts, strip, copies = part.memory, self._run.counts, part.strip, self._pool.copies
        labels = score = None
        with self._run.watch("download"):
            if self._run.maps is None and strip.rows > 0:
                labels, score = self._run.rows().of(strip)
                copies.copy(labels, memory.labels_host)
            if score is not None:
                copies.copy(score, memory.score_host)
        nodata, nan = memory.counts_host.sum(axis=0)
        counts.written += strip.rows * self._run.plan.grid.kept[3]
        counts.nodata += int(nodata)
        counts.nan += int(nan)
        counts.tiles_run += part.run
        counts.tiles_empty += part.empty
        self._strips.give_back(memory)
        return DeviceStrip(strip, labels, score) if strip.rows > 0 else None

    def release(self) -> None:
        """Wait for what the device still does with this run's memory, which the next run may use then."""
        whole = False
        try:
            for stream in (self._pool.up, *(slot.stream for slot in self._slots), self._pool.fuse, self._pool.down):
                self._gpu.synchronize(stream)
            whole = True
        except DeviceError:
            pass                                    # told by what waited for it, or by the next run, which makes everything anew
        finally:
            self._strips.end()
            self._take_back(self._pool, whole)


class GpuRuns:
    """The device of one Segmenter: gives every run a pool of its own, used again when the run is over."""

    def __init__(self, device: str, engine: Any, spec: ModelSpec, threads: int) -> None:
        """`threads`: that copy pixels into pinned memory. Raises DeviceError where the device cannot be used."""
        self.gpu = CudaDevice(cuda_index(device))
        self._engine, self._spec, self._threads = engine, spec, threads
        self._lock = threading.Lock()
        self._spare: list[DevicePool] = []

    def stages(self, run: Run) -> DeviceStages:
        """Stages for one run; two threads get pools of their own."""
        with self._lock:
            pool = self._spare.pop() if self._spare else None
        if pool is None:
            spec = self._spec
            pool = DevicePool(self.gpu, self._engine, len(spec.bands), len(spec.classes), spec.logit_stride_px, self._threads)
        try:
            return DeviceStages(run, pool, self._spec, self._take_back)
        except BaseException:
            pool.close()                            # what it holds may be what the next run lacks
            raise

    def source(self, array: object, valid: object | None, stream: object) -> DeviceArraySource:
        """A scene that lies on this device."""
        return DeviceArraySource(array, len(self._spec.bands), valid, self.gpu, stream)

    def maps(self, source: DeviceArraySource, score: int | None) -> DeviceMaps:
        """Where the map of such a scene is made."""
        shape = (source.rows, source.cols)
        return DeviceMaps(DeviceArray(self.gpu, shape, np.uint8), None if score is None else DeviceArray(self.gpu, shape, np.uint8))

    def _take_back(self, pool: DevicePool, whole: bool) -> None:
        """For the next run; one that may still be worked with is closed."""
        if not whole:
            return pool.close()
        with self._lock:
            self._spare.append(pool)

    def close(self) -> None:
        """Free the pools that no run uses."""
        with self._lock:
            while self._spare:
                self._spare.pop().close()
