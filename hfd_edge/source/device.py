"""A scene that is an array on the GPU: its pixels are read where they lie, and its map stays there."""

from __future__ import annotations

from typing import Any

import numpy as np

from hfd_edge.device.array import ForeignArray, foreign_array, is_on_device
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import ArrayError, DeviceError
from hfd_edge.radiometry import STORED_DTYPES


class DeviceArraySource:
    """A scene in device memory; only the samples that its declaration is checked with come to the host."""

    def __init__(self, array: object, bands: int, valid: object | None, gpu: CudaDevice, stream: object = None) -> None:
        """Take (bands, rows, cols), or (rows, cols) where one band is expected; any strides.

        Args:
            valid: (rows, cols) bool or uint8 on the same device, nonzero = valid; None = all that are finite.
            stream: what the caller's work on the array was enqueued on; None = what the array says.
        Raises:
            ArrayError: wrong shape or dtype.
            DeviceError: the array or its mask is on another device.
        """
        self.gpu = gpu
        self.values = _with_bands(foreign_array(array, gpu, stream), bands)
        if len(self.values.shape) != 3 or self.values.shape[0] != bands or 0 in self.values.shape:
            raise ArrayError(f"array of shape {self.values.shape}: this network takes ({bands}, rows, cols), bands first, with at least one pixel")
        if self.values.dtype.name not in STORED_DTYPES or not self.values.dtype.isnative:
            raise ArrayError(f"array of dtype {self.values.dtype} on the device: use one of {', '.join(STORED_DTYPES)}")
        self.count, self.rows, self.cols = self.values.shape
        self.dtype = self.values.dtype
        self.valid = None if valid is None else self._mask(valid, stream)

    def _mask(self, valid: object, stream: object) -> ForeignArray:
        if not is_on_device(valid):
            raise DeviceError("valid is in main memory and the array on the device: nothing is copied in silence; move the mask there too")
        mask = foreign_array(valid, self.gpu, stream)
        if mask.shape != (self.rows, self.cols) or mask.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
            raise ArrayError(f"valid of shape {mask.shape} and dtype {mask.dtype}: it must be bool or uint8 of the scene's shape "
                             f"{(self.rows, self.cols)}, nonzero = valid")
        return mask

    def order_after_caller(self, stream: int) -> None:
        """What is enqueued on `stream` from now on waits for what the caller has enqueued on the array."""
        for given in {self.values.stream, *(() if self.valid is None else (self.valid.stream,))}:
            event = self.gpu.event()
            event.record(given)
            self.gpu.wait(stream, event)

    def scene(self) -> Any:
        """What gather reads: all of it."""
        values, valid = self.values, self.valid
        mask = None if valid is None else (valid.ptr, *valid.strides)
        return self.gpu.native.Scene(values.ptr, f"{values.dtype.kind}{values.dtype.itemsize}", values.shape, values.strides, mask, (0, 0),
                                      values.shape[1:])

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Copies of some rows, for the samples."""
        stream = self.gpu.stream()
        self.order_after_caller(stream.handle)
        mask = None if self.valid is None else self._rows(self.valid, 0, row, rows, stream.handle)
        return self._rows(self.values, 1, row, rows, stream.handle), mask

    def _rows(self, array: ForeignArray, axis: int, row: int, rows: int, stream: int) -> np.ndarray:
        shape = tuple(rows if a == axis else size for a, size in enumerate(array.shape))
        reach = [(size - 1) * step for size, step in zip(shape, array.strides)]
        low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + array.dtype.itemsize
        if high - low > 64 * array.dtype.itemsize * np.prod(shape):     # bands far apart: one after the other
            return np.stack([self._rows(_band(array, b), 0, row, rows, stream) for b in range(array.shape[0])])
        memory = np.empty(high - low, np.uint8)
        self.gpu.copy_out(memory, array.ptr + row * array.strides[axis] + low, stream)
        self.gpu.synchronize(stream)
        return np.ndarray(shape, array.dtype, memory, -low, array.strides)


def _band(array: ForeignArray, band: int) -> ForeignArray:
    return ForeignArray(array.ptr + band * array.strides[0], array.shape[1:], array.strides[1:], array.dtype, array.stream, array.owner)


def _with_bands(array: ForeignArray, bands: int) -> ForeignArray:
    if len(array.shape) != 2 or bands != 1:
        return array
    return ForeignArray(array.ptr, (1, *array.shape), (array.shape[0] * array.strides[0], *array.strides), array.dtype, array.stream, array.owner)
