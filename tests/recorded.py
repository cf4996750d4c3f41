"""Native calls with their inputs in files, so that another build, another processor or another variant can repeat them.

    python tests/recorded.py make calls.bin          inputs only, from one seed
    python tests/recorded.py run calls.bin out.bin   what this build makes of them (HFD_SIMD chooses the variant)

One call after the other, little-endian; the size of every array follows from the numbers before it.
tests/aarch64/replay.cpp reads the same file without Python. Outputs are poisoned before the call.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recorded_blend import blend_bytes, run_blend
from recorded_speckle import run_speckle, speckle_bytes
from recorded_tables import run_tables, tables_bytes

POISON = 0xA5
GATHER, FINISH, SPECKLE, BLEND, TABLES = 1, 2, 3, 4, 5
ELEMENTS = ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "c8", "c16"]
UNITS = ["intensity", "amplitude", "db", "complex", "dn"]
# How the values lie in memory: bytes before the first, then strides of band, row and column in units of an element.
LAYOUTS = ["plain", "misaligned", "interleaved", "reversed", "gaps"]


@dataclass(frozen=True)
class GatherCase:
    """Arguments of one gather; values lie in `memory`, `offset` bytes in, with `strides`."""

    element: int
    unit: int
    model_unit: int
    shape: tuple[int, int, int]
    offset: int
    strides: tuple[int, int, int]
    origin: tuple[int, int]
    size: tuple[int, int]
    numbers: np.ndarray        # float64: scale, offset, floor, then mean, gain, clip low, clip high per band
    nodata: np.ndarray         # float64
    valid: np.ndarray | None
    memory: np.ndarray         # uint8

    def values(self) -> np.ndarray:
        return np.ndarray(self.shape, ELEMENTS[self.element], self.memory, self.offset, self.strides)


def wild_floats(rng: np.random.Generator, count: int) -> np.ndarray:
    """Plausible numbers among denormals, infinities, NaNs of any payload, zeros of both signs and any bits at all."""
    values = rng.normal(-10, 8, count).astype(np.float32)
    values[rng.random(count) < 0.3] = 10 ** rng.normal(-2, 2)
    some = rng.random(count) < rng.choice([0, 0.02, 0.4])
    bits = values.view(np.uint32)
    bits[some] = rng.choice(np.concatenate([
        rng.integers(0, 2**32, 40, dtype=np.uint64), rng.integers(0, 1 << 23, 8), rng.integers(0x7F800001, 0x7FFFFFFF, 8),
        [0x80000000, 0x7F800000, 0xFF800000, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF]]).astype(np.uint32), some.sum())
    return values


def wild_pixels(rng: np.random.Generator, element: str, count: int) -> np.ndarray:
    if element[0] in "ui":
        low, high = np.iinfo(element).min, np.iinfo(element).max
        return rng.integers(max(low, -300), min(high, 3000), count, endpoint=True).astype(element)
    with np.errstate(all="ignore"):                     # NaNs that signal
        if element[0] == "f":
            return wild_floats(rng, count).astype(element)
        return wild_floats(rng, 2 * count).view("c8").astype(element)


def lay_out(values: np.ndarray, layout: str) -> tuple[int, tuple[int, int, int], np.ndarray]:
    """(offset, strides in bytes, memory) of the same numbers laid out in another way."""
    bands, rows, cols = values.shape
    step = values.itemsize
    if layout == "interleaved":
        memory, strides, offset = values.transpose(1, 2, 0), (step, cols * bands * step, bands * step), 0
    elif layout == "reversed":
        memory, strides = values[:, ::-1, ::-1], (rows * cols * step, -cols * step, -step)
        offset = (rows * cols - 1) * step
    elif layout == "gaps":
        memory, strides, offset = np.repeat(values, 3, axis=2), (rows * cols * 3 * step, cols * 3 * step, 3 * step), 0
    else:
        memory, strides, offset = values, (rows * cols * step, cols * step, step), 0
    raw = np.ascontiguousarray(memory).view(np.uint8).ravel()
    if layout == "misaligned":
        raw, offset = np.concatenate([np.zeros(1, np.uint8), raw]), 1
    return offset, strides, raw


def gather_case(rng: np.random.Generator) -> GatherCase:
    unit = int(rng.integers(0, 5))
    element = int(rng.integers(8, 10) if UNITS[unit] == "complex" else rng.integers(0, 8))
    model_unit = 4 if UNITS[unit] == "dn" else int(rng.integers(0, 3))
    shape = tuple(int(n) for n in (rng.integers(1, 4), rng.integers(1, 9), rng.integers(1, 90)))
    values = wild_pixels(rng, ELEMENTS[element], int(np.prod(shape))).reshape(shape)
    offset, strides, memory = lay_out(values, str(rng.choice(LAYOUTS)))
    bands = shape[0]
    calibration = [(1.0, 0.0), (float(rng.normal()) or 1.0, 0.0 if UNITS[unit] == "complex" else 0.7)][int(rng.integers(0, 2))]
    floor = -35.0 if UNITS[model_unit] == "db" else float(rng.choice([np.nan, 0.125]))
    clip = [[], [np.full(bands, -30.0), np.full(bands, 20.0)]][int(rng.integers(0, 2))]
    numbers = np.concatenate([[*calibration, floor], rng.normal(size=bands), rng.normal(size=bands), *clip])
    with np.errstate(all="ignore"):
        nodata = rng.choice(np.float64([0.0, 7.0, -9999.0, np.nan, 1e300, values.real.flat[0]]), int(rng.integers(0, 4)))
    valid = (rng.random(shape[1:]) < 0.8).astype(np.uint8) if rng.random() < 0.5 else None
    origin, size = rng.integers(-40, 40, 2).tolist(), (int(rng.integers(1, 12)), int(rng.integers(1, 130)))
    return GatherCase(element, unit, model_unit, shape, offset, strides, tuple(origin), size, numbers, nodata, valid, memory)


def gather_bytes(case: GatherCase) -> bytes:
    has_clip = len(case.numbers) > 3 + 2 * case.shape[0]
    head = struct.pack("<18q", GATHER, case.element, case.unit, case.model_unit, *case.shape, case.offset, *case.strides,
                       *case.origin, *case.size, has_clip, len(case.nodata), case.valid is not None)
    valid = b"" if case.valid is None else case.valid.tobytes()
    return (head + case.numbers.tobytes() + case.nodata.tobytes() + valid + struct.pack("<q", len(case.memory))
            + case.memory.tobytes())


def finish_case(rng: np.random.Generator) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """((classes, rows, cols, stride, crop, kept, gap of the label rows, score asked, its class), logits, status)."""
    classes = int(rng.choice([1, 2, 5, 7, int(rng.integers(1, 256))]))
    stride = int(rng.choice([1, 1, 2, 3, 4, 4, 4, 5, 8, 16, 32]))
    rows, cols = int(rng.integers(1, 7)), int(rng.integers(1, 1 + max(2, (700 if classes < 9 else 90) // stride)))
    logits = wild_floats(rng, classes * rows * cols)
    status = rng.choice(np.uint8([0, 1, 2]), rows * stride * cols * stride, p=[0.8, 0.1, 0.1])
    crop = (int(rng.integers(0, rows * stride)), int(rng.integers(0, cols * stride)))
    kept = (int(rng.integers(1, rows * stride - crop[0] + 1)), int(rng.integers(1, cols * stride - crop[1] + 1)))
    return (classes, rows, cols, stride, *crop, *kept, int(rng.integers(0, 9)), int(rng.integers(0, 2)),
            int(rng.choice([-1, rng.integers(0, classes)]))), logits, status


def make(path: Path, calls: int, seed: int = 0) -> None:
    """Write `calls` random calls, in turns gather, finish, speckle, blend and tables."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for i in range(calls):
            if i % 5 == 4:
                file.write(struct.pack("<q", TABLES) + tables_bytes(rng, wild_floats(rng, int(rng.integers(1, 3000)))))
            elif i % 5 == 3:
                file.write(struct.pack("<q", BLEND) + blend_bytes(rng, wild_floats(rng, int(rng.integers(1, 3000)))))
            elif i % 5 == 2:
                file.write(struct.pack("<q", SPECKLE) + speckle_bytes(rng, wild_floats(rng, int(rng.integers(1, 3000)))))
            elif i % 5 == 0:
                file.write(gather_bytes(gather_case(rng)))
            else:
                numbers, logits, status = finish_case(rng)
                file.write(struct.pack("<12q", FINISH, *numbers) + logits.tobytes() + status.tobytes())


class Reader:
    """Takes arrays off the front of a file's bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, dtype: str, count: int) -> np.ndarray:
        array = np.frombuffer(self._raw, dtype, count, self._at)
        self._at += array.nbytes
        return array

    @property
    def empty(self) -> bool:
        return self._at == len(self._raw)


def run_gather(reader: Reader) -> bytes:
    from hfd_edge import _native
    head = reader.take("<i8", 17).tolist()
    element, unit, model_unit, shape, offset, strides = *head[:3], tuple(head[3:6]), head[6], tuple(head[7:10])
    origin, size, (has_clip, nodata_count, has_valid) = tuple(head[10:12]), tuple(head[12:14]), head[14:]
    bands = shape[0]
    numbers = reader.take("<f8", 3 + (4 if has_clip else 2) * bands).tolist()
    nodata = reader.take("<f8", nodata_count).tolist()
    valid = reader.take("u1", shape[1] * shape[2]).reshape(shape[1:]) if has_valid else None
    memory = reader.take("u1", int(reader.take("<i8", 1)[0]))
    values = np.ndarray(shape, ELEMENTS[element], memory, offset, strides)
    mean, gain, low, high = (numbers[3 + k * bands:3 + (k + 1) * bands] for k in range(4))
    tile, status = (np.frombuffer(bytearray([POISON]) * n, t).reshape(s) for n, t, s in (
        (4 * bands * size[0] * size[1], np.float32, (bands, *size)), (size[0] * size[1], np.uint8, size)))
    gather = _native.Gather(UNITS[unit], UNITS[model_unit], *numbers[:2], nodata, numbers[2], low, high, mean, gain)
    gather.run(values, (0, 0), shape[1:], origin, tile, status, valid, 2)
    if size[0] % 2 or size[1] % 2:
        return tile.tobytes() + status.tobytes()
    cells = np.full((size[0] // 2, size[1] // 2, 4 * bands), POISON, np.uint8)
    gather.run_bytes(values, (0, 0), shape[1:], origin, cells, status, valid, 0.07, 101, 2)
    return tile.tobytes() + status.tobytes() + cells.tobytes()


def run_finish(reader: Reader) -> bytes:
    from hfd_edge import _native
    classes, rows, cols, stride, *place, gap, scored, score_class = reader.take("<i8", 11).tolist()
    logits = reader.take("<f4", classes * rows * cols).reshape(classes, rows, cols)
    status = reader.take("u1", rows * stride * cols * stride).reshape(rows * stride, cols * stride)
    labels, score = np.full((2, place[2], place[3] + gap), POISON, np.uint8)
    counts = _native.finish(logits, stride, status, tuple(place[:2]), labels[:, :place[3]],
                            score[:, :place[3]] if scored else None, 2, score_class)
    return labels.tobytes() + score.tobytes() + struct.pack("<2q", *counts)


RUNS = {GATHER: run_gather, FINISH: run_finish, SPECKLE: run_speckle, BLEND: run_blend, TABLES: lambda reader: run_tables(reader, POISON)}


def run(path: Path) -> bytes:
    """All outputs of the recorded calls, one after the other."""
    reader, outputs = Reader(path.read_bytes()), []
    while not reader.empty:
        kind = int(reader.take("<i8", 1)[0])
        outputs.append(RUNS[kind](reader))
    return b"".join(outputs)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), calls=2000)
    else:
        Path(sys.argv[3]).write_bytes(run(Path(sys.argv[2])))
