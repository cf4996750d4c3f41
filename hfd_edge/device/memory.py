"""Memory, streams, events and graphs of one CUDA device.

    gpu = CudaDevice(0)
    stream, staged, there = gpu.stream(), gpu.pinned((2, 512, 512), np.uint16), gpu.allocate(2 * 512 * 512 * 2)
    gpu.copy_in(there.ptr, staged, stream.handle)           # asynchronous: `staged` stays until the stream has come by
    done = gpu.event(); done.record(stream.handle); done.synchronize()

Addresses and streams are whole numbers, so engines and foreign libraries fit in without a dependency. Nothing here waits for the
device but what says so: `synchronize` and `free`. Every failure is a DeviceError with CUDA's name of it and the way out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np

from hfd_edge.errors import DeviceError

WAYS_OUT = "hfd_edge does not fall back in silence; use a machine where `hfd-edge doctor` lists a CUDA device, or device='cpu' (--device cpu)"


def cuda_module() -> ModuleType:
    """hfd_edge._cuda.

    Raises:
        DeviceError: it was not built with this installation; the reason is in `hfd_edge.build_info()["cuda_module"]`.
    """
    try:
        from hfd_edge import _cuda
    except ImportError as error:
        from hfd_edge.build import build_info

        raise DeviceError(f"this installation has no CUDA module ({build_info()['cuda_module']['error']}): install the CUDA toolkit and "
                          f"build hfd_edge again (pip install .), or use device='cpu'") from error
    return _cuda


def check_device(index: int) -> None:
    """Raise DeviceError unless this process can use cuda:`index`."""
    try:
        found = cuda_module().devices()
    except DeviceError as error:
        raise DeviceError(f"device='cuda:{index}': {error}") from error
    if not found["devices"]:
        raise DeviceError(f"device='cuda:{index}': no CUDA device is usable here ({found['error'] or 'none found'}; the driver "
                          f"serves CUDA {found['driver_version']}, 0 = no driver): {WAYS_OUT}")
    if not 0 <= index < len(found["devices"]):
        names = ", ".join(f"cuda:{d['index']} {d['name']}" for d in found["devices"])
        raise DeviceError(f"device='cuda:{index}' is not there: this process sees {names}; choose one of them")


class CudaDevice:
    """Makes memory, streams, events and graphs on one device, and copies between it and the host."""

    def __init__(self, index: int) -> None:
        """Raises DeviceError where the device cannot be used."""
        check_device(index)
        self.index = index
        self.native = cuda_module()              # the operations

    @contextmanager
    def current(self) -> Iterator[None]:
        """This device is the calling thread's inside the block: what takes a stream alone, TensorRT first of all, works on the current one.
        Afterwards the thread is as it was, also where it had no device yet; no other device gets a context."""
        before = self.native.enter_device(self.index)
        try:
            yield
        finally:
            self.native.leave_device(before)

    @contextmanager
    def current_to_free(self) -> Iterator[None]:
        """As `current`, for what gives something back; where CUDA works no more nothing is raised, as that was told where it was found."""
        with ExitStack() as here:
            with suppress(DeviceError):
                here.enter_context(self.current())
            yield

    def allocate(self, nbytes: int) -> Any:
        """Device memory that is not initialised, with .ptr, .nbytes, .device and .free(); freed with its last reference."""
        return self.native.DeviceBuffer(self.index, nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """An array in pinned main memory, not initialised; it lives as long as a view of it does."""
        dtype, count = np.dtype(dtype), math.prod(shape)
        return np.frombuffer(self.native.PinnedBuffer(self.index, max(1, count * dtype.itemsize)), dtype, count).reshape(shape)

    def stream(self) -> Any:
        """A stream with .handle and .device; it does not wait for the default stream."""
        return self.native.Stream(self.index)

    def event(self, timing: bool = False) -> Any:
        """An event with .handle, .record(stream), .synchronize(), .done() and, with timing, .milliseconds_since(earlier)."""
        return self.native.Event(self.index, timing)

    def wait(self, stream: int, event: Any) -> None:
        """What is enqueued on `stream` from now on waits for `event`; the host does not."""
        self.native.wait_event((self.index, stream), event.handle)

    def synchronize(self, stream: int) -> None:
        """Wait until `stream` has done everything."""
        self.native.synchronize((self.index, stream))

    def copy_in(self, to: int, host: np.ndarray, stream: int) -> None:
        """`host`, C order, to the device address `to`. From pinned memory it is asynchronous: leave `host` alone until then."""
        self.native.copy_in(to, host, (self.index, stream))

    def copy_out(self, host: np.ndarray, address: int, stream: int) -> None:
        """`host.nbytes` bytes from a device address into `host`, C order and writable; asynchronous into pinned memory."""
        self.native.copy_out(host, address, (self.index, stream))

    def fill(self, to: int, byte: int, nbytes: int, stream: int) -> None:
        """Write `byte` to `nbytes` bytes of device memory."""
        self.native.fill(to, byte, nbytes, (self.index, stream))

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes of the device."""
        return self.native.memory_info(self.index)

    @contextmanager
    def captured(self, stream: int) -> Iterator[Any]:
        """Capture what is enqueued on `stream` inside the block into the graph it gives; graph.launch(stream) repeats it.

        Raises:
            DeviceError: something in the block cannot be captured; the stream can be used again.
        """
        graph = self.native.Graph(self.index)
        graph.begin(stream)
        try:
            yield graph
        except BaseException:
            try:
                graph.end(stream)               # the stream must leave the capture
            except DeviceError as error:        # the block's own error is the one to tell
                del error
            raise
        graph.end(stream)
