"""An engine for the emulated device: the CPU's own engine, enqueued on its streams, reading and writing its memory."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from hfd_edge.device import cuda_index
from hfd_edge.device.array import DeviceArray
from hfd_edge.device.memory import CudaDevice
from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
from hfd_edge.errors import EngineError
from hfd_edge.segmenter import Segmenter
from tests.emulated_cuda import Emulated


def floats_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """Device memory, which here is main memory, as an array."""
    return np.frombuffer((ctypes.c_float * math.prod(shape)).from_address(address), np.float32).reshape(shape)


def filled(gpu, host: np.ndarray) -> DeviceArray:
    """An array on the device, complete."""
    array, stream = DeviceArray(gpu, host.shape, host.dtype), gpu.stream()
    gpu.copy_in(array.ptr, np.ascontiguousarray(host), stream.handle)
    gpu.synchronize(stream.handle)
    return array


class Slot:
    def __init__(self, engine: EmulatedEngine, tiles: int, rows: int, cols: int) -> None:
        spec = engine.package.spec
        self.tiles, self._engine, self.closed = tiles, engine, False
        self.input_shape = (tiles, len(spec.bands), rows, cols)
        self._scene = CudaDevice(cuda_index(engine.device)).allocate(4 * spec.scene_numbers) if spec.scene_numbers else None
        self.scene_memory = (0, 0) if self._scene is None else (self._scene.ptr, self._scene.nbytes)
        floats_at(self.scene_memory[0], (spec.scene_numbers,))[...] = 0
        self.output_shape = (tiles, len(spec.classes), rows // spec.logit_stride_px, cols // spec.logit_stride_px)

    def enqueue(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        if self.closed:
            raise EngineError("the slot is closed")
        if self._engine.refuses:
            raise EngineError("this batch is refused")
        self._engine.enqueued += 1

        def run() -> None:
            scene = floats_at(self.scene_memory[0], (1, numbers)) if (numbers := self.scene_memory[1] // 4) else None
            floats_at(output_ptr, self.output_shape)[...] = self._engine.infer(floats_at(input_ptr, self.input_shape), scene)

        self._engine.device_module.call(stream, run)

    def prepare(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        return None

    def close(self) -> None:
        self.closed, self._scene = True, None


class EmulatedEngine(OnnxRuntimeEngine):
    """graph-fp32.onnx on the emulated device."""

    name, refuses, enqueued = "emulated", False, 0

    def __init__(self, package, threads: int, device_module: Emulated, device: str = "cuda:0") -> None:
        super().__init__(package, "graph-fp32.onnx", threads)
        self.package, self.device_module, self.device, self.slots = package, device_module, device, []

    def slot(self, tiles: int, rows: int, cols: int) -> Slot:
        self.slots.append(Slot(self, tiles, rows, cols))
        return self.slots[-1]


def emulated_segmenter(path, device_module: Emulated, device: str = "cuda:0", **options) -> Segmenter:
    """A Segmenter on an emulated device, which must be installed."""

    class OnEmulated(Segmenter):
        def _open_engine(self, precision):
            return EmulatedEngine(self._package, self.threads, device_module, self.device)

    return OnEmulated(path, device=device, **options)
