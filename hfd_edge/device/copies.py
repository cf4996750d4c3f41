"""Copies within main memory by several threads: one alone fills a fast bus to a GPU by a fifth."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

PIECE_BYTES = 2 << 20           # copied by one thread at a time; less is not worth waking one


class HostCopies:
    """Threads that copy, made when they are first needed."""

    def __init__(self, threads: int) -> None:
        self._threads, self._lock = threads, threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def copy(self, to: np.ndarray, source: np.ndarray) -> None:
        """Copy (..., rows, cols) to an array of its shape, any strides; bool becomes uint8. Returns when all is there."""
        rows = to.shape[-2]
        pieces = min(self._threads, to.nbytes // PIECE_BYTES, rows)
        if pieces < 2:
            np.copyto(to, source, casting="unsafe")
            return
        cuts = [rows * i // pieces for i in range(pieces + 1)]
        parts = [slice(*cut) for cut in zip(cuts, cuts[1:])]
        copying = [self._workers().submit(np.copyto, to[..., part, :], source[..., part, :], "unsafe") for part in parts]
        try:
            for each in copying:
                each.result()
        finally:
            wait(copying)                               # after Ctrl-C too: whoever gets this memory next must find it still

    def close(self) -> None:
        """End the threads; a later copy makes new ones."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool = None

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "hfd-copy")
            return self._pool
