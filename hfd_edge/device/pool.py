"""What a run holds on a CUDA device: slots for batches and memory for strips, kept for the next run.

After the first strips of the first run nothing is allocated any more, on the device or in pinned memory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from hfd_edge.device.copies import HostCopies
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import DeviceError, EngineError

SLOTS = 3                   # batches on the device at once: one in the engine, one gathered, one being finished
SPARES_KEPT = 10            # of strips: those of two kinds of scenes
SHAPES_KEPT = 3             # of slots: one usual tile, a batch of them, and a wide one (plan/device.py)


@dataclass(frozen=True, slots=True)
class StripShape:
    """What a strip's memory must hold."""

    values: tuple[int, int, int]        # (bands, rows, cols) of stored pixels
    dtype: np.dtype
    masked: bool
    labels: tuple[int, int]             # kept rows and columns
    tiles: int
    in_place: bool = False              # the scene lies on the device already, and its map stays there
    filtered: tuple[int, int] = (0, 0)  # rows and columns that a speckle filter makes for the tiles
    cells: tuple[int, int] = (0, 0)     # of blending: columns of logits, and rows that two strips share

    @property
    def nbytes(self) -> tuple[int, ...]:
        """Of stored pixels, their mask, a map, counts, filtered pixels, and tables of blending."""
        bands, *size = self.values
        return (bands * math.prod(size) * self.dtype.itemsize, math.prod(size) * self.masked, math.prod(self.labels) * (not self.in_place),
                16 * self.tiles, 4 * bands * math.prod(self.filtered), self.cells[0] + 4 * self.cells[1])


class StripMemory:
    """Stored pixels and labels of one strip, on the device and pinned; made for the largest strip, used for smaller ones."""

    shape: StripShape

    def __init__(self, gpu: CudaDevice, nbytes: tuple[int, ...]) -> None:
        """`nbytes`: as StripShape.nbytes."""
        self.nbytes = nbytes
        stored, mask, kept, counts, filtered, tables = nbytes
        self.values, self._values_host = gpu.allocate(stored), gpu.pinned((stored,), np.uint8)
        self.valid, self._valid_host = gpu.allocate(mask), gpu.pinned((mask,), np.uint8)
        self.labels, self.score, self._maps_host = gpu.allocate(kept), gpu.allocate(kept), gpu.pinned((2, kept), np.uint8)
        self.counts, self._counts_host = gpu.allocate(counts), gpu.pinned((counts // 16, 2), np.int64)
        self.filtered = gpu.allocate(filtered)
        self.tables, self.tables_host = gpu.allocate(tables), gpu.pinned((tables,), np.uint8)
        self.arrived, self.done = gpu.event(), gpu.event()

    def fits(self, shape: StripShape) -> bool:
        return all(needed <= held for needed, held in zip(shape.nbytes, self.nbytes))

    def take(self, shape: StripShape) -> StripMemory:
        """The same memory, for a strip of this shape."""
        self.shape = shape
        return self

    @property
    def values_host(self) -> np.ndarray:
        return self._values_host[:self.shape.nbytes[0]].view(self.shape.dtype).reshape(self.shape.values)

    @property
    def valid_host(self) -> np.ndarray:
        return self._valid_host[:math.prod(self.shape.values[1:])].reshape(self.shape.values[1:])

    @property
    def labels_host(self) -> np.ndarray:
        return self._maps_host[0, :math.prod(self.shape.labels)].reshape(self.shape.labels)

    @property
    def score_host(self) -> np.ndarray:
        return self._maps_host[1, :math.prod(self.shape.labels)].reshape(self.shape.labels)

    @property
    def counts_host(self) -> np.ndarray:
        return self._counts_host[:self.shape.tiles]

    @property
    def share_host(self) -> np.ndarray:
        """The lower strip's share of rows that two strips have; csrc/ops/blend.h."""
        return self.tables_host[:4 * self.shape.cells[1]].view(np.int32)

    @property
    def holds_host(self) -> np.ndarray:
        """Which columns of logits a tile covers."""
        return self.tables_host[4 * self.shape.cells[1]:self.shape.nbytes[-1]]

    @property
    def share(self) -> tuple[int, int]:
        """(address, bytes) of share_host's twin on the device."""
        return self.tables.ptr, 4 * self.shape.cells[1]

    @property
    def holds(self) -> tuple[int, int]:
        """(address, bytes) of holds_host's."""
        return self.tables.ptr + 4 * self.shape.cells[1], self.shape.cells[0]

    def scene(self, native: ModuleType, window: tuple[int, int], scene: tuple[int, int]) -> Any:
        """What gather reads of the stored pixels."""
        shape, dtype = self.shape, self.shape.dtype
        bands, rows, cols = shape.values
        strides = (rows * cols * dtype.itemsize, cols * dtype.itemsize, dtype.itemsize)
        valid = (self.valid.ptr, cols, 1) if shape.masked else None
        return native.Scene(self.values.ptr, f"{dtype.kind}{dtype.itemsize}", shape.values, strides, valid, window, scene)


class DeviceSlotMemory:
    """A stream with its memory and its engine context."""

    def __init__(self, gpu: CudaDevice, engine_slot: Any, expected: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        """Raises EngineError where the engine's shapes are not the spec's."""
        if (tuple(engine_slot.input_shape), tuple(engine_slot.output_shape)) != expected:
            raise EngineError(f"the engine takes {tuple(engine_slot.input_shape)} and gives {tuple(engine_slot.output_shape)}: the "
                              f"spec says {expected[0]} and {expected[1]}; graph and spec differ, export the package again")
        self.engine, self._gpu = engine_slot, gpu
        tiles, _, rows, cols = engine_slot.input_shape
        self.tile, self.logits = gpu.allocate(4 * math.prod(engine_slot.input_shape)), gpu.allocate(4 * math.prod(expected[1]))
        self.status, self.seen = gpu.allocate(tiles * rows * cols), gpu.allocate(4 * tiles)
        self.seen_host = gpu.pinned((tiles,), np.uint32)
        self._told: tuple[int, int] = getattr(engine_slot, "scene_memory", (0, 0))
        self._told_host = gpu.pinned((self._told[1] // 4,), np.float32) if self._told[1] else None
        self._stream = gpu.stream()
        self.stream: int = self._stream.handle
        self.gathered, self.answered, self.finished = gpu.event(), gpu.event(), gpu.event()
        gpu.fill(self.tile.ptr, 0, self.tile.nbytes, self.stream)       # tiles that a small batch leaves out are numbers at least
        self.tile_memory = (self.tile.ptr, self.tile.nbytes)
        self.status_memory = (self.status.ptr, self.status.nbytes)
        self.seen_memory = (self.seen.ptr, self.seen.nbytes)
        self.logits_memory = (self.logits.ptr, self.logits.nbytes)
        engine_slot.prepare(self.tile.ptr, self.logits.ptr, self.stream)

    def tell(self, vector: np.ndarray) -> None:
        """Let the engine know what a network is told of the whole scene, (1, n) float32; what the stream does from now on finds it there.

        The device has done with the last one, so this is once a run.

        Raises:
            EngineError: the engine takes no such vector, or another one.
        """
        address, nbytes = self._told
        if nbytes != vector.nbytes:
            raise EngineError(f"this network is told of the whole scene (scene_percentiles) in {vector.size} numbers, and the engine on this "
                              f"GPU takes {nbytes // 4 or 'none'}: run it with device='cpu', or package the network again")
        np.copyto(self._told_host, vector.reshape(-1))
        self._gpu.copy_in(address, self._told_host, self.stream)


@dataclass(frozen=True, slots=True)
class FieldMemory:
    """Where one strip's tiles are fused: (address, bytes) of logits at their own stride and of validity."""

    logits: tuple[int, int]
    status: tuple[int, int]


class DevicePool:
    """Slots, streams and strips of one run at a time."""

    def __init__(self, gpu: CudaDevice, engine: Any, bands: int, classes: int, logit_stride: int, threads: int = 1) -> None:
        """`threads`: that copy pixels into pinned memory."""
        self.gpu, self.copies = gpu, HostCopies(threads)
        self._engine, self._bands, self._classes, self._stride = engine, bands, classes, logit_stride
        self._streams = gpu.stream(), gpu.stream(), gpu.stream()
        self.up, self.down, self.fuse = (stream.handle for stream in self._streams)     # pixels up, maps down, tiles fused
        self.fused = gpu.event()
        self._slots: dict[tuple[int, int, int], list[DeviceSlotMemory]] = {}
        self._spare: list[StripMemory] = []
        self._lock = threading.Lock()               # of the spare strips: one thread takes, another gives back
        self._kept: dict[str, Any] = {}             # memory by what it is for
        self._in_use: tuple[int, int, int] | None = None            # key of the slots that the run works with

    def slots(self, tiles: int, rows: int, cols: int) -> list[DeviceSlotMemory]:
        """The slots for batches of this shape, for a run that begins. Those of other shapes are kept, as long as there is memory for all.

        Raises:
            DeviceError, EngineError: not enough memory for this shape alone, or the engine refuses it.
        """
        self._in_use = key = (tiles, rows, cols)
        while key not in self._slots and len(self._slots) >= SHAPES_KEPT:
            self._free_slots(next(iter(self._slots)))
        if key not in self._slots:
            self._slots[key] = self._with_room(lambda: self._made_slots(key))
        return self._slots[key]

    def _made_slots(self, key: tuple[int, int, int]) -> list[DeviceSlotMemory]:
        (tiles, rows, cols), s, made, engines = key, self._stride, [], []
        expected = (tiles, self._bands, rows, cols), (tiles, self._classes, rows // s, cols // s)
        try:
            for _ in range(SLOTS):
                engines.append(self._engine.slot(*key))
                made.append(DeviceSlotMemory(self.gpu, engines[-1], expected))
        except BaseException:
            for engine in engines:
                engine.close()
            raise
        return made

    def strip(self, largest: StripShape, shape: StripShape) -> StripMemory:
        """Memory for a strip, large enough for all strips of its run: a spare one, else a new one. Of many spare ones the oldest are freed."""
        with self._lock:
            for memory in self._spare:
                if memory.fits(largest):
                    self._spare.remove(memory)
                    return memory.take(shape)
            del self._spare[:max(0, len(self._spare) - SPARES_KEPT)]
        return self._with_room(lambda: StripMemory(self.gpu, largest.nbytes)).take(shape)

    def _with_room(self, make: Callable[[], Any]) -> Any:
        """What `make` gives; where there is not enough memory once more, without what this run does not use."""
        try:
            return make()
        except DeviceError:
            idle = [key for key in self._slots if key != self._in_use]
            if not idle and not self._spare:
                raise
        self._free_slots(*idle)                     # here, for an error that is still being handled holds what its frames hold
        with self._lock:
            self._spare.clear()
        return make()

    def give_back(self, memory: StripMemory) -> None:
        """For a later strip; the device has done with it."""
        with self._lock:
            self._spare.append(memory)

    def scratch(self, *nbytes: int) -> list[tuple[int, int]]:
        """(address, bytes) of memory that only what is enqueued on `up` uses, with whatever is in it."""
        return [(self._of(f"scratch {i}", size).ptr, size) for i, size in enumerate(nbytes)]

    def fields(self, logits: int, status: int) -> tuple[FieldMemory, FieldMemory]:
        """Memory for two strips that are fused, of so many bytes."""
        made = [(self._of(f"logits {i}", logits).ptr, self._of(f"status {i}", status).ptr) for i in range(2)]
        return tuple(FieldMemory((at, logits), (status_at, status)) for at, status_at in made)

    def tables(self, nbytes: int) -> tuple[np.ndarray, Any]:
        """Pinned memory (nbytes,) uint8 and device memory of at least that size."""
        if self._kept.get("tables host") is None or self._kept["tables host"].nbytes < nbytes:
            self._kept.pop("tables host", None)
            self._kept["tables host"] = self.gpu.pinned((nbytes,), np.uint8)
        return self._kept["tables host"][:nbytes], self._of("tables", nbytes)

    def close(self) -> None:
        """Free everything; the device has done with it."""
        self._free_slots(*self._slots)
        self._spare.clear()
        self._kept.clear()
        self.copies.close()

    def _of(self, what: str, nbytes: int) -> Any:
        """Device memory of at least `nbytes`; a larger one frees the one before, which waits for the device."""
        if self._kept.get(what) is None or self._kept[what].nbytes < nbytes:
            self._kept.pop(what, None)                  # freed before there is a larger one
            self._kept[what] = self._with_room(lambda: self.gpu.allocate(nbytes))
        return self._kept[what]

    def _free_slots(self, *keys: tuple[int, int, int]) -> None:
        for key in keys:
            for slot in self._slots.pop(key):
                slot.engine.close()
