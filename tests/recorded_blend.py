"""Recorded calls of blending; the rest of recorded.py's file. tests/aarch64/replay_blend.h reads the same."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

SHARE_ONE = 1 << 15
PLAIN_NAN = np.uint32(0x7FC00000)       # processors make NaNs of different bits out of one sum; that it is one is what counts


def blend_bytes(rng: np.random.Generator, values: np.ndarray) -> bytes:
    """One tile into a field, then the field's last rows with another one's first; `values` are as wild as elsewhere."""
    classes, rows, used, more, gap = (int(rng.integers(1, n)) for n in (6, 9, 70, 4, 5))
    shared = int(rng.integers(1, rows + 1))
    cols = used + gap
    tile = np.resize(values, (classes, rows + more, used + more))
    field, other = (np.resize(values[::-1], (classes, rows, cols)), np.resize(values[len(values) // 2:], (classes, rows, cols)))
    share = rng.choice([0, 1, SHARE_ONE // 3, SHARE_ONE // 2, SHARE_ONE - 1, SHARE_ONE], used + shared).astype(np.int32)
    state, holds = rng.integers(0, 3, used).astype(np.uint8), rng.integers(0, 2, 2 * cols).astype(np.uint8)
    head = struct.pack("<6q", classes, rows, used, more, gap, shared)
    return head + b"".join(array.tobytes() for array in (tile, field, other, share, state, holds))


def run_blend(reader: Any) -> bytes:
    from hfd_edge import _native
    classes, rows, used, more, gap, shared = reader.take("<i8", 6).tolist()
    cols = used + gap
    tile = reader.take("<f4", classes * (rows + more) * (used + more)).reshape(classes, rows + more, used + more).copy()
    field, other = (reader.take("<f4", classes * rows * cols).reshape(classes, rows, cols).copy() for _ in "fo")
    share, state = reader.take("<i4", used + shared).copy(), reader.take("u1", used).copy()
    above, below = reader.take("u1", 2 * cols).reshape(2, cols).copy()
    _native.blend_tile(tile, (more, more), field, gap, share[:used], state, 2)
    _native.blend_strips(field, other, share[used:], above, below, 2)
    return plain(field) + plain(other)


def plain(values: np.ndarray) -> bytes:
    return np.where(np.isnan(values), PLAIN_NAN, values.view(np.uint32)).tobytes()
