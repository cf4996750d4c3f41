"""The speckle filter in front of a network, on the device: a strip's stored pixels to linear intensity, filtered once, for all its tiles.

The bits are the CPU's (source.filter.FilteredSource): the same gather, the same filter, the same rows beyond the strip's own. Rows that
two strips share are filtered for both: there that costs less than keeping them.
"""

from __future__ import annotations

from typing import Any

from hfd_edge.device.pool import DevicePool, StripMemory
from hfd_edge.source.filter import FilteredSource
from hfd_edge.tiles import Strip


class DeviceFilter:
    """The filter of one run; everything is enqueued on the pool's stream that sends pixels up."""

    def __init__(self, source: FilteredSource, pool: DevicePool, most_rows: int) -> None:
        """`most_rows`: that the tiles of a strip read."""
        self._source, self._pool, self._gpu = source, pool, pool.gpu
        self._gather = source.to_intensity(pool.gpu.native)
        self._speckle = source.filter.native(pool.gpu.native)
        self._bright = source.filter.bright_of(source.count)
        self.halo_px = source.filter.halo_px
        self._most_rows = most_rows + 2 * self.halo_px

    def enqueue(self, scene: Any, strip: Strip, place: tuple[int, int], memory: StripMemory) -> Any:
        """Filter the rows that a strip's tiles read, into memory.filtered; gives what gather reads of them.

        Args:
            scene: the stored pixels.
            place: scene row and column of the first pixel to take.
        """
        gpu, up, (bands, scene_rows) = self._gpu, self._pool.up, (self._source.count, self._source.rows)
        row, (kept, cols) = max(0, strip.read_row - self.halo_px), memory.shape.filtered
        rows = min(scene_rows, strip.read_row + kept + self.halo_px) - row
        pixels, most = rows * cols, self._most_rows * cols          # memory that grew at a later strip would stop the device
        intensity, status = self._pool.scratch(4 * bands * most, most)
        queue = (gpu.index, up)
        self._gather.run(scene, [(row, place[1], 0, 0, rows, cols)], (rows, cols), intensity, status, None, queue)
        gpu.native.valid_of_status(status, pixels, queue)
        filtered = (memory.filtered.ptr, memory.filtered.nbytes)
        self._speckle.run(intensity, (bands, rows, cols), status, self._bright, (strip.read_row - row, kept), filtered, queue)
        strides = (4 * kept * cols, 4 * cols, 4)
        return gpu.native.Scene(filtered[0], "f4", (bands, kept, cols), strides, None, (strip.read_row, place[1]),
                                (scene_rows, self._source.cols))
