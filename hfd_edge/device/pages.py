"""Memory of strips: pages of their own, used again as soon as nobody holds the strip before."""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import numpy as np

from hfd_edge.errors import DeviceError

_HUGE_BYTES = 4 << 20       # from here on pages of 2 MB waste little


def own_pages(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Memory, zero at first, in pages of its own: what a strip is made of goes back to the system when it is freed.

    From the heap such blocks come and go between others, and the peak of a run creeps with the height of a scene.
    """
    dtype = np.dtype(dtype)
    return np.frombuffer(_mapped(math.prod(shape) * dtype.itemsize), dtype, math.prod(shape)).reshape(shape)


class PagesAgain:
    """Gives memory for one strip after another. What the system gives anew it must clear, page by page, which costs more than to read a strip
    into it; so memory that nobody holds any more is given again. One such piece is kept at most, and goes with its owner.
    """

    def __init__(self) -> None:
        self._spare: list[mmap.mmap] = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """Memory of a shape, with whatever is in it. It stays the caller's as long as the array or a view of it lives."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        spare = self._spare.pop() if self._spare else None
        return np.asarray(_Held(_mapped(size) if spare is None or len(spare) < size else spare, self._spare, shape, dtype))


class _Held:
    """What an array stands on: its end is the end of the last view."""

    def __init__(self, pages: mmap.mmap, spare: list[mmap.mmap], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._pages, self._spare = pages, spare
        address, _ = np.frombuffer(pages, np.uint8).__array_interface__["data"]
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (address, False), "version": 3}

    def __del__(self) -> None:
        if not self._spare:
            self._spare.append(self._pages)


def _mapped(size: int) -> mmap.mmap:
    try:
        pages = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)    # the default, shared, costs several times as much
    except OSError as error:
        raise DeviceError(f"{size} bytes for a strip cannot be had ({error}): this process has all the memory that it may take; give a smaller "
                          "tile (--tile) or budget (--memory), or raise its limit (ulimit -v)") from error
    if size >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):                         # advice: a kernel without huge pages says no, and nothing is lost
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
