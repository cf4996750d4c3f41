"""What scenes on a disk have in common: open files that one thread at a time reads, and that are let go of once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hfd_edge.errors import DeviceError, RadiometryError, RasterError
from hfd_edge.forks import no_fork
from hfd_edge.raster.rows_once import RowsOnce

Own = TypeVar("Own", bound="OpenScene")


class OpenScene:
    """A context manager; a reader sets what stands here, and gives `read_into(values, row, col)`: it fills values (bands, rows, cols), columns
    adjacent, with the pixels from (row, col) on, and gives `read`'s validity."""

    count: int
    cols: int
    dtype: np.dtype
    block_rows: int                     # that are decoded together
    _open: Any
    _lock: threading.Lock

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; waits for a read that is under way."""
        with no_fork(), self._lock:             # in this order: a forked process finds the lock free
            self._open.close()

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels of scene rows row..row+rows-1, full width: (bands, rows, cols) of `dtype`, and validity (rows, cols) bool, None where no pixel is
        marked; new memory. Raises RasterError: the rows are outside the scene, or the file is damaged there."""
        return self.read_part(row, rows, 0, self.cols)

    def read_part(self, row: int, rows: int, col: int, cols: int) -> tuple[np.ndarray, np.ndarray | None]:
        """As `read`, of the columns col..col+cols-1 only."""
        values = np.empty((self.count, max(rows, 0), max(cols, 0)), self.dtype)
        return values, self.read_into(values, row, col)

    def reader(self, col: int, cols: int, whole_blocks: bool = True) -> RowsOnce:
        """For windows of these columns from top to bottom: what two of them share is read once; with `whole_blocks` compressed
        blocks are read to their end."""
        return RowsOnce(self, col, cols, self.block_rows if whole_blocks else 1)


def check_process(name: str, process: int) -> None:
    """Raise DeviceError where a scene that was opened in this process is read in another one."""
    if process != os.getpid():
        raise DeviceError(f"{name} was opened in process {process} and is read in process {os.getpid()}, forked "
                          "from it: they would move each other's place in the file; open it again there, or start workers "
                          "with multiprocessing.get_context('spawn')")


def check_inside(name: str, size: tuple[int, int], row: int, col: int, shape: tuple[int, ...]) -> None:
    """Raise RasterError where pixels of shape (bands, rows, cols) from (row, col) on are not in a scene of `size` (rows, cols)."""
    for what, first, count, there in (("rows", row, shape[1], size[0]), ("columns", col, shape[2], size[1])):
        if first < 0 or count < 1 or first + count > there:
            raise RasterError(f"{what} {first} to {first + count - 1} of {name}: it has {what} 0 to {there - 1}")


@contextmanager
def refused(path: Path, kind: str) -> Iterator[None]:
    """Whatever a foreign library raises on a damaged file, in one line."""
    try:
        yield
    except (RasterError, RadiometryError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a foreign library on a file from anywhere
        raise RasterError(f"{path} cannot be read as {kind} ({type(error).__name__}: {printable(error)[:120]}): it is damaged or incomplete; copy or "
                          "download it again") from error


def printable(value: object) -> str:
    """Without line breaks and control characters, which a file could send to a terminal."""
    return "".join(c for c in " ".join(str(value).split()) if c.isprintable())[:200]
