"""A mosaic with its files moved together: what a sample of it is taken of, so that one with wide gaps is still seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Span = tuple[int, int]              # first and number


class WithoutGaps:
    """A mosaic's pixels without the rows and the columns in which no file lies; no file, halo or map has its coordinates."""

    def __init__(self, mosaic: Any, row_spans: Sequence[Span], col_spans: Sequence[Span]) -> None:
        self._mosaic, self._row_spans, self._col_spans = mosaic, row_spans, col_spans
        self.rows, self.cols = (sum(count for _, count in held) for held in (row_spans, col_spans))
        self.count, self.dtype, self.stored_block = mosaic.count, mosaic.dtype, mosaic.stored_block

    def read(self, row: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Stored pixels (bands, rows, cols) and their validity (rows, cols)."""
        return self.read_part(row, rows, 0, self.cols)

    def read_part(self, row: int, rows: int, col: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
        """As `read`, of some columns."""
        read = [[self._mosaic.read_part(*there, *across) for across in _within(self._col_spans, col, cols)] for there in _within(self._row_spans, row, rows)]
        values, valid = ([np.concatenate([part[which] for part in parts], axis=-1) for parts in read] for which in (0, 1))
        return np.concatenate(values, axis=1), np.concatenate(valid)


def spans(edges: np.ndarray) -> list[Span]:
    """The union of half-open ranges (n, 2), from the lowest up."""
    joined: list[list[int]] = []
    for first, last in sorted(edges.tolist()):
        if joined and first <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], last)
        else:
            joined.append([first, last])
    return [(first, last - first) for first, last in joined]


def _within(held: Sequence[Span], first: int, count: int) -> Iterator[Span]:
    """The pieces of the mosaic that a span of what is moved together stands for."""
    before = 0
    for start, length in held:
        low, high = max(first, before), min(first + count, before + length)
        if low < high:
            yield start + low - before, high - low
        before += length
