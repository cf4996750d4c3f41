"""DLPack's capsules, read and written with ctypes: the memory of a tensor and who frees it.

Source: dlpack.h, version 0 of the structures (a capsule named "dltensor"), which every library reads.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

KIND_CUDA, KIND_MANAGED = 2, 13         # device memory, and memory that moves between host and devices (cudaMallocManaged)
_NAME, _USED = b"dltensor", b"used_dltensor"
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_KINDS = {code: kind for kind, code in _CODES.items()}


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64))


class _Managed(ctypes.Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER))
_DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)

_python = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR)(("PyCapsule_New", _python))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))

_given: dict[int, tuple[Any, ...]] = {}         # what capsules that others hold keep alive, by the address of their record


@dataclass(frozen=True, slots=True)
class DlpackTensor:
    """A tensor in a capsule that nobody has consumed: it lives as long as this does."""

    ptr: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None     # in elements; None = C order
    dtype: np.dtype
    capsule: Any


def tensor_in(capsule: Any) -> DlpackTensor:
    """What a capsule holds. Raises ValueError where it is no tensor of numbers on a CUDA device."""
    if not _is_valid(id(capsule), _NAME):
        raise ValueError("the DLPack capsule was consumed, or is of a version that is not known")
    tensor = ctypes.cast(_pointer(id(capsule), _NAME), ctypes.POINTER(_Managed)).contents.tensor
    if tensor.code not in _KINDS or tensor.lanes != 1 or tensor.bits % 8 or tensor.device_type not in (KIND_CUDA, KIND_MANAGED):
        raise ValueError(f"DLPack type code {tensor.code} of {tensor.bits} bits, {tensor.lanes} lanes, on device type {tensor.device_type}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    return DlpackTensor((tensor.data or 0) + tensor.offset, shape, strides, np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}"), capsule)


@_DELETER
def _delete(managed: Any) -> None:
    _given.pop(ctypes.addressof(managed.contents), None)


@_DESTRUCTOR
def _destroy(capsule: int) -> None:
    if _is_valid(capsule, _NAME):               # nobody took it
        _given.pop(_pointer(capsule, _NAME), None)


def capsule_of(owner: object, ptr: int, shape: tuple[int, ...], dtype: np.dtype, device: int) -> Any:
    """A capsule over memory in C order on a CUDA device; whoever consumes it keeps `owner` alive until it has done."""
    axes = ctypes.c_int64 * len(shape)
    sizes = axes(*shape)
    steps = axes(*(math.prod(shape[axis + 1:]) for axis in range(len(shape))))
    managed = _Managed()
    managed.tensor = _Tensor(ptr, KIND_CUDA, device, len(shape), _CODES[dtype.kind], 8 * dtype.itemsize, 1, sizes, steps, 0)
    managed.deleter = _delete
    address = ctypes.addressof(managed)
    _given[address] = (managed, sizes, steps, owner)
    return _new(address, _NAME, _destroy)
