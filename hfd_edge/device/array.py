"""Arrays of other libraries on a CUDA device, taken and given without a copy.

Taken: whatever has `__cuda_array_interface__` (CuPy, Numba, PyCUDA's GPUArray, torch) or DLPack. Given: `DeviceArray`, which has both,
so `torch.from_dlpack(result.labels)` and `cupy.asarray(result.labels)` share its memory. Streams: whole numbers, or objects with
`__cuda_stream__`, `.cuda_stream` (torch), `.ptr` (CuPy) or `.handle` (PyCUDA, Numba, cuda.core).

Sources: CUDA Array Interface version 3 (Numba's documentation), DLPack's Python specification (dmlc.github.io/dlpack).
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfd_edge.device.dlpack import KIND_CUDA, KIND_MANAGED, capsule_of, tensor_in
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import ArrayError, DeviceError

_NO_COPY = "nothing is copied between devices in silence; move the array, or open the Segmenter there"
LEGACY_STREAM = 0           # what a library uses whose user named no stream


@dataclass(frozen=True, slots=True)
class ForeignArray:
    """Device memory of another library; `owner` keeps it."""

    ptr: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]        # bytes, of any sign
    dtype: np.dtype
    stream: int                     # what is written to it was enqueued here
    owner: Any


class DeviceArray:
    """Memory on a device that hfd_edge made, complete when you get it; C order."""

    def __init__(self, gpu: CudaDevice, shape: tuple[int, ...], dtype: np.dtype | type) -> None:
        """Raises DeviceError where there is not enough memory."""
        self._gpu, self.shape, self.dtype = gpu, shape, np.dtype(dtype)
        self.nbytes = math.prod(shape) * self.dtype.itemsize
        self._buffer = gpu.allocate(self.nbytes)

    @property
    def ptr(self) -> int:
        """The device address."""
        return self._buffer.ptr

    @property
    def device(self) -> str:
        return f"cuda:{self._gpu.index}"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self.shape, "typestr": self.dtype.str, "data": (self.ptr, False), "strides": None, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return KIND_CUDA, self._gpu.index

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None, dl_device: tuple[int, int] | None = None,
                   copy: bool | None = None) -> Any:
        """A capsule; the memory is complete, so no stream has to wait. Raises BufferError, as DLPack wants, where a copy is asked for."""
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"this array on {self.device} is given as it is, not as a copy or on device {dl_device}: take it without copy= and "
                              "device=, and copy what you have then")
        return capsule_of(self, self.ptr, self.shape, self.dtype, self._gpu.index)

    def numpy(self) -> np.ndarray:
        """A copy in main memory."""
        host, stream = np.empty(self.shape, self.dtype), self._gpu.stream()
        self._gpu.copy_out(host, self.ptr, stream.handle)
        self._gpu.synchronize(stream.handle)
        return host

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise DeviceError(f"this array is on {self.device} and is not copied in silence: use .numpy(), torch.from_dlpack(it) or "
                          "cupy.asarray(it)")


def is_on_device(array: object) -> bool:
    """Whether an object says that its memory is a CUDA device's."""
    if isinstance(array, np.ndarray):
        return False
    kind = getattr(array, "__dlpack_device__", None)
    if kind is not None:
        try:
            return tuple(kind())[0] in (KIND_CUDA, KIND_MANAGED)
        except Exception:  # noqa: BLE001 - whatever a foreign object raises: ArraySource says what is wrong with it
            return False
    return hasattr(array, "__cuda_array_interface__")


def foreign_array(array: object, gpu: CudaDevice, stream: object = None) -> ForeignArray:
    """The memory behind a foreign array; not copied.

    Args:
        stream: what the caller's work on it was enqueued on; None = what the array says (its interface from version 3 on, else DLPack), else
            the legacy default stream.
    Raises:
        ArrayError: the array cannot be read, or its dtype is none of NumPy's.
        DeviceError: it lives on another device, or in a context that this device shares with nobody.
    """
    given = None if stream is None else stream_handle(stream)
    if any(getattr(array, name, bool)() for name in ("is_conj", "is_neg")):
        raise ArrayError(f"{type(array).__name__} is a view that is the conjugate or the negative of its memory: give .resolve_conj().resolve_neg() of it")
    try:
        on = tuple(getattr(array, "__dlpack_device__", lambda: (KIND_CUDA, gpu.index))())
        taken = _taken(array, gpu, given) if on in ((KIND_CUDA, gpu.index), (KIND_MANAGED, gpu.index)) else None
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a foreign object raises
        raise ArrayError(f"{type(array).__name__} cannot be read as a device array ({error}): give an object with "
                         "__cuda_array_interface__ or DLPack (a torch tensor needs .detach())") from error
    if taken is None:
        raise DeviceError(f"the array is on device {on} (DLPack type, index) and this engine on cuda:{gpu.index}: {_NO_COPY}")
    _check_home(taken, gpu)
    return taken


def _taken(array: Any, gpu: CudaDevice, given: int | None) -> ForeignArray:
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None or (given is None and "stream" not in interface and hasattr(array, "__dlpack__")):
        with gpu.current():                         # torch gives the tensors of its current device alone, and orders by that one's stream
            return _from_dlpack(array, given)       # version 2 knows no streams: JAX and torch say by DLPack when the pixels are there
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides") or _c_strides(shape, dtype.itemsize)
    said = interface.get("stream")
    return ForeignArray(int(interface["data"][0]), shape, tuple(strides), dtype, given if given is not None else int(said or LEGACY_STREAM), array)


def _check_home(array: ForeignArray, gpu: CudaDevice) -> None:
    """An array interface names no device, and a kernel that reads what its device does not reach ends CUDA for the process."""
    device, reached = gpu.native.home_of(array.ptr, gpu.index)
    if device not in (-1, gpu.index):
        raise DeviceError(f"the array is on cuda:{device} and this engine on cuda:{gpu.index}: {_NO_COPY}")
    if not reached:
        raise DeviceError(f"the array was made in a context of its own on cuda:{device}, which nothing else reaches: make it in the one that all "
                          "libraries share (PyCUDA: import pycuda.autoprimaryctx instead of pycuda.autoinit)")


def _from_dlpack(array: Any, stream: int | None) -> ForeignArray:
    """DLPack orders the array after its producer on the stream that is named: 1 is the legacy default one."""
    stream = LEGACY_STREAM if stream is None else stream
    tensor = tensor_in(array.__dlpack__(stream=stream or 1))
    strides = tuple(s * tensor.dtype.itemsize for s in tensor.strides) if tensor.strides else _c_strides(tensor.shape, tensor.dtype.itemsize)
    return ForeignArray(tensor.ptr, tensor.shape, strides, tensor.dtype, stream, (array, tensor))


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * math.prod(shape[axis + 1:]) for axis in range(len(shape)))


def stream_handle(stream: object) -> int:
    """The cudaStream_t behind a stream of any library, as a whole number.

    Raises:
        DeviceError: the object is no stream that is known.
    """
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("cuda_stream", "ptr", "handle"):
        if hasattr(stream, name):
            handle = getattr(stream, name)
            return (handle.value or LEGACY_STREAM) if isinstance(handle, ctypes.c_void_p) else int(handle)
    raise DeviceError(f"stream={stream!r} is no CUDA stream: give a handle as a whole number, or an object with __cuda_stream__, "
                      ".cuda_stream, .ptr or .handle")
