"""One execution context with fixed shapes: enqueued plainly, or as a CUDA graph that is replayed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.tensorrt_log import Log
from hfd_edge.errors import DeviceError, EngineError
from hfd_edge.spec import SCENE_INPUT

_TRIES = 3                  # at a CUDA graph, one after the other


@dataclass(frozen=True, slots=True)
class Names:
    """Of the network's ends."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class SlotShape:
    """What a slot is for."""

    profile: int
    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]
    names: Names
    cuda_graphs: bool
    scene_numbers: int = 0                  # of the vector that the network is told of the whole scene; 0 = none


class Block:
    """Scratch memory of execution contexts that never run at the same time; it grows, and tells whoever holds its address."""

    def __init__(self, gpu: CudaDevice) -> None:
        self._gpu, self._buffer, self._nbytes = gpu, None, 0
        self.version = 0                        # of the address

    def reserve(self, nbytes: int) -> None:
        """Hold at least so many bytes. Raises DeviceError where there are not as many."""
        if nbytes <= self._nbytes:
            return
        self.free()
        self._buffer, self._nbytes = self._gpu.allocate(nbytes), nbytes
        self.version += 1

    @property
    def place(self) -> tuple[int, int]:
        """Device address (0 = none) and bytes."""
        return (self._buffer.ptr, self._nbytes) if self._buffer is not None else (0, 0)

    def free(self) -> None:
        """Give it back; waits for the device."""
        if self._buffer is not None:
            self._buffer.free()
        self._buffer, self._nbytes = None, 0


class Slot:
    """See engine.base.DeviceSlot."""

    def __init__(self, make: Callable[[], tuple[Any, list[Any]]], gpu: CudaDevice, block: Block, log: Log, shape: SlotShape) -> None:
        """Make the context, choose its profile, and run it once on zeros, so that nothing is set up later."""
        self.tiles, self.input_shape, self.output_shape = shape.source[0], shape.source, shape.target
        self.note = ""                          # why it runs without a CUDA graph, where one was wanted
        self._gpu, self._log, self._shape = gpu, log, shape
        self._block: Block | None = block
        self._lock = threading.Lock()
        self._graph: tuple[tuple[int, int], Any] | None = None
        self._seen = -1                         # version of the block's address
        self._tries_left = _TRIES if shape.cuda_graphs else 0
        self._scene: Any = gpu.allocate(4 * shape.scene_numbers) if shape.scene_numbers else None
        self.scene_memory = (0, 0) if self._scene is None else (self._scene.ptr, self._scene.nbytes)
        with gpu.current():
            self._context, self._streams = make()
            try:
                self._set_up()
            except BaseException:
                self.close()
                raise

    def enqueue(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        """See DeviceSlot. The first call with a pair of addresses captures them; the same pair is replayed from then on."""
        with self._lock, self._gpu.current():
            if self._context is None:
                raise EngineError("this slot is closed: ask the engine for another one")
            if (graph := self._graph_of(input_ptr, output_ptr, stream)) is None:
                return self._execute(input_ptr, output_ptr, stream)
            graph.launch(stream)

    def prepare(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        """See DeviceSlot."""
        with self._lock, self._gpu.current():
            if self._context is not None:
                self._graph_of(input_ptr, output_ptr, stream)

    def close(self) -> None:
        """See DeviceSlot."""
        with self._lock, self._gpu.current_to_free():           # TensorRT frees what it has on the thread's own device
            self._graph = None
            self._block = None                  # the last holder's memory is freed, which waits for the device
            self._context = None
            self._scene = None
            self._streams = []

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._context is None

    def _set_up(self) -> None:
        gpu, shape = self._gpu, self._shape
        stream = gpu.stream()
        source, target = gpu.allocate(4 * math.prod(shape.source)), gpu.allocate(4 * math.prod(shape.target))
        try:
            self._log.mark()
            with self._log.told(f"profile {shape.profile} was refused", "build the plan again with hfd-edge build"):
                self._context.set_optimization_profile_async(shape.profile, stream.handle)      # True, or it raises
            gpu.synchronize(stream.handle)
            self._place()
            if not self._context.set_input_shape(shape.names.source, shape.source):
                raise self._log.error(f"input {shape.names.source} was refused the shape {shape.source}", "build the plan again")
            if self._scene is not None and not self._context.set_input_shape(SCENE_INPUT, (1, shape.scene_numbers)):
                raise self._log.error(f"input {SCENE_INPUT} was refused the shape {(1, shape.scene_numbers)}", "build the plan again")
            with self._log.told(f"the shapes of a batch of {shape.source} cannot be inferred", "build the plan again"):
                missing = list(self._context.infer_shapes())
            if missing:
                raise EngineError(f"TensorRT misses the shape of {', '.join(missing)}: graph and plan differ, build the plan again")
            if (found := tuple(self._context.get_tensor_shape(shape.names.target))) != shape.target:
                raise EngineError(f"output {shape.names.target} has shape {found}, the spec says {shape.target}: graph and spec differ, "
                                  "export the package again")
            for address, nbytes in ((source.ptr, source.nbytes), *([self.scene_memory] if self._scene is not None else [])):
                gpu.fill(address, 0, nbytes, stream.handle)
            self._execute(source.ptr, target.ptr, stream.handle)
            gpu.synchronize(stream.handle)
        finally:
            source.free()
            target.free()

    def _place(self) -> None:
        """Tell the context where its scratch memory is."""
        self._context.set_device_memory(*self._block.place)
        self._seen = self._block.version

    def _execute(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        if self._seen != self._block.version:
            self._place()
        context, names = self._context, self._shape.names
        told = [] if self._scene is None else [(SCENE_INPUT, self.scene_memory[0])]
        for name, address in ((names.source, input_ptr), (names.target, output_ptr), *told):
            if not context.set_tensor_address(name, address):
                raise self._log.error(f"tensor {name} was refused the address {address:#x}", "addresses must be on this device and aligned")
        if not context.execute_async_v3(stream):
            raise self._log.error(f"TensorRT failed on a batch of {self.input_shape}", "see hfd-edge doctor")

    def _graph_of(self, input_ptr: int, output_ptr: int, stream: int) -> Any:
        """The graph of a pair of addresses; None where there is none, and then a note once it was tried often enough: what another thread
        does on this GPU (it frees memory, say) can end a capture."""
        if self._graph is not None and self._graph[0] == (input_ptr, output_ptr) and self._seen == self._block.version:
            return self._graph[1]
        self._graph = None
        if self._tries_left == 0:
            return None
        if self._seen != self._block.version:
            self._place()
        self._log.mark()
        try:
            with self._gpu.captured(stream) as graph:
                self._execute(input_ptr, output_ptr, stream)
        except (DeviceError, EngineError) as error:
            self._tries_left -= 1
            if self._tries_left == 0:
                self.note = f"without CUDA graphs, which could not be captured ({str(error)[:200]}): launches cost more"
            return None
        self._tries_left = _TRIES
        self._graph = (input_ptr, output_ptr), graph
        return graph
