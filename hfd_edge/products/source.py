"""What all products have in common as scenes: open files that one thread at a time reads, and that are let go of once."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import numpy as np

from hfd_edge.forks import no_fork

Own = TypeVar("Own", bound="ProductSource")


class ProductSource:
    """A context manager, read like a RasterSource; a reader sets `cols`, `_open` (what has `close`) and `_lock`, and gives `read_part`."""

    cols: int
    _open: Any
    _lock: threading.Lock

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; waits for a read that is under way."""
        with no_fork(), self._lock:
            self._open.close()

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Linear power (bands, rows, cols) float32 and validity (rows, cols) bool; new memory. Raises RasterError."""
        return self.read_part(row, rows, 0, self.cols)
