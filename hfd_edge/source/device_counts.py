"""What is counted over a whole scene that lies on a GPU: where it lies, on a stream of its own; only counts come to the host.

The numbers are those of the host's twins, source.vector.count_scene and source.saturation.saturated: whole numbers, so the order in
which they are added changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hfd_edge._native import POWER_BINS
from hfd_edge.radiometry import SourceRadiometry, make_gather
from hfd_edge.source.device import DeviceArraySource
from hfd_edge.source.saturation import stored_level
from hfd_edge.spec import ModelInput
from hfd_edge.stitch import STATUS_NODATA

_STRIP_PX = 1 << 22             # pixels of all bands that are intensity at once: 16 MiB, which a large GPU's cache holds


def count_power(source: DeviceArraySource, radiometry: SourceRadiometry, plain: ModelInput) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of a scene's linear power; waits for the device.

    Args:
        radiometry: what the pixels are, checked.
        plain: linear intensity of as many bands, as it is.
    Returns:
        (bands, POWER_BINS) and (bands, 2) int64: see source.vector.PowerCounts.
    """
    gpu, bands = source.gpu, source.count
    gather, stream = make_gather(radiometry, plain, gpu.native), gpu.stream()
    rows, queue = min(source.rows, max(1, _STRIP_PX // (source.cols * bands))), (gpu.index, stream.handle)
    pixels = rows * source.cols
    intensity, status = gpu.allocate(4 * bands * pixels), gpu.allocate(pixels)
    power, totals = np.empty((bands, POWER_BINS), np.int64), np.empty((bands, 2), np.int64)
    counts = _zeros(gpu, power.nbytes, stream.handle), _zeros(gpu, totals.nbytes, stream.handle)
    source.order_after_caller(stream.handle)
    scene = source.scene()
    for row in range(0, source.rows, rows):
        size = min(rows, source.rows - row), source.cols
        gather.run(scene, [(row, 0, 0, 0, *size)], size, _memory(intensity), _memory(status), None, queue)
        gpu.native.count_power(_memory(intensity), _memory(status), bands, size[0] * size[1], *map(_memory, counts), queue, STATUS_NODATA)
    for host, there in zip((power, totals), counts):
        gpu.copy_out(host, there.ptr, stream.handle)
    gpu.synchronize(stream.handle)
    return power, totals


class SaturatedPixels:
    """A scene's saturated pixels, counted while the device does other things; keep it, and the scene, until `total` was asked for."""

    def __init__(self, source: DeviceArraySource, radiometry: SourceRadiometry) -> None:
        """Enqueue the count, after what the caller has enqueued on the scene; waits for nothing."""
        gpu, level = source.gpu, stored_level(radiometry, source.dtype)
        self._gpu, self._stream = gpu, gpu.stream()
        self._there = _zeros(gpu, 8, self._stream.handle)
        if level is not None:
            source.order_after_caller(self._stream.handle)
            gpu.native.count_saturated(source.scene(), list(radiometry.nodata), level, _memory(self._there),
                                       (gpu.index, self._stream.handle))

    def total(self) -> int:
        """Pixels that have a value in every band and reach the declared level in one; waits for the count alone."""
        host = np.empty(1, np.int64)
        self._gpu.copy_out(host, self._there.ptr, self._stream.handle)
        self._gpu.synchronize(self._stream.handle)
        return int(host[0])


def _zeros(gpu: Any, nbytes: int, stream: int) -> Any:
    there = gpu.allocate(nbytes)
    gpu.fill(there.ptr, 0, nbytes, stream)
    return there


def _memory(buffer: Any) -> tuple[int, int]:
    return buffer.ptr, buffer.nbytes
