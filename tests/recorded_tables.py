"""Recorded calls of amplitudes to power by tables; the rest of recorded.py's file. tests/aarch64/replay_tables.h reads the same."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from recorded_blend import plain


def tables_bytes(rng: np.random.Generator, values: np.ndarray) -> bytes:
    """Rows of amplitudes, tables of gain and noise, factors. Tables are as a product's are, as wild as `values`, or of noise that takes all but
    the last bits of the power away: a product and a difference made in one rounding show there, and nearly nowhere else."""
    rows, cols, pieces = (int(rng.integers(1, n)) for n in (9, 1400 if rng.random() < 0.1 else 70, 5))
    counts = rng.integers(2, 6, 2).tolist()
    stored = rng.integers(0, 2**16 if rng.random() < 0.5 else 300, (rows, cols)).astype(np.uint16)
    factors = rng.uniform(0.5, 1.5, rows * pieces)
    gain, noise = rng.uniform(200, 700, counts[0] * cols), rng.uniform(0, 20_000, counts[1] * cols)
    kind = rng.choice(["product", "wild", "drowned"])
    if kind == "wild":
        with np.errstate(all="ignore"):                 # NaNs that signal
            gain, noise = (np.resize(rng.permutation(values), len(lines)).astype(np.float64) * rng.choice([1, 1e-290]) for lines in (gain, noise))
    elif kind == "drowned":
        stored[:], factors[:] = stored.flat[0], factors[0]
        noise = float(stored.flat[0]) ** 2 / factors[0] * (1 + rng.uniform(-4e-16, 4e-16, len(noise)))
    ends = np.sort(np.append(rng.integers(0, cols + 1, pieces - 1), cols))
    parts = [stored]
    for count, lines in zip(counts, (gain, noise)):
        parts += [lines, rng.integers(0, count - 1, rows), rng.random(rows) * (rng.random(rows) < 0.7)]
    head = struct.pack("<6q", rows, cols, *counts, pieces, int(rng.integers(0, 5)))
    return head + b"".join(part.tobytes() for part in (*parts, factors, ends))


def run_tables(reader: Any, poison: int) -> bytes:
    from hfd_edge import _native
    rows, cols, gains, noises, pieces, gap = reader.take("<i8", 6).tolist()

    def taken(dtype: str, *shape: int) -> np.ndarray:
        return reader.take(dtype, math.prod(shape)).reshape(shape).copy()       # what lies anywhere in the file is refused

    stored = taken("<u2", rows, cols)
    gain, noise = ((taken("<f8", count, cols), taken("<i8", rows), taken("<f8", rows)) for count in (gains, noises))
    factors, ends = taken("<f8", rows, pieces), taken("<i8", pieces)
    power = np.full((rows, 4 * (cols + gap)), poison, np.uint8).view(np.float32)
    _native.power_by_tables(stored, gain, noise, factors, ends, power[:, :cols])
    return plain(power)
