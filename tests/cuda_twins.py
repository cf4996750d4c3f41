"""Every operation of hfd_edge._cuda against its twin in hfd_edge._native, byte for byte, on random calls.

Sizes are odd, addresses misaligned, numbers wild (tests/recorded.py), outputs poisoned, and what lies beside an output must stay as it
was. The folder of this file is on the path: pytest and benchmarks/certify_gpu.py see to that. Runs on whatever device
`hfd_edge.device.memory` finds: a GPU, or the emulated one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import recorded
import recorded_speckle

from hfd_edge import _native
from hfd_edge.device.memory import CudaDevice
from hfd_edge.radiometry import SourceRadiometry, as_stored
from hfd_edge.source.saturation import saturated, stored_level

OPERATIONS = ("gather", "finish", "speckle", "counts", "saturation", "blend", "validity")
POISON = 0xA5
GUARD = 64                  # bytes beside every output that nobody may touch


@dataclass
class Output:
    """Device memory for an output: poisoned, `shift` bytes into its buffer, with a guard at either end."""

    gpu: CudaDevice
    stream: int
    nbytes: int
    shift: int = 0

    def __post_init__(self) -> None:
        self._buffer = self.gpu.allocate(self.nbytes + 2 * GUARD)
        self.gpu.fill(self._buffer.ptr, POISON, self._buffer.nbytes, self.stream)
        self.ptr = self._buffer.ptr + GUARD + self.shift

    @property
    def memory(self) -> tuple[int, int]:
        return self.ptr, self.nbytes

    def read(self) -> bytes:
        host = np.empty(self._buffer.nbytes, np.uint8)
        self.gpu.copy_out(host, self._buffer.ptr, self.stream)
        self.gpu.synchronize(self.stream)
        before, inside, behind = np.split(host, [GUARD + self.shift, GUARD + self.shift + self.nbytes])
        assert (before == POISON).all() and (behind == POISON).all(), "memory beside an output was written"
        return inside.tobytes()


class Twins:
    """Random calls of each operation on a device and on the CPU; a method gives a sentence where they differ, else None."""

    def __init__(self, gpu: CudaDevice, seed: int) -> None:
        self.gpu, self.rng = gpu, np.random.default_rng(seed)
        self._stream = gpu.stream()
        self.stream = self._stream.handle
        self._kept: list = []

    @property
    def queue(self) -> tuple[int, int]:
        return self.gpu.index, self.stream

    def upload(self, host: np.ndarray, shift: int = 0) -> int:
        """The address of a copy on the device, `shift` bytes from an aligned one."""
        host = np.frombuffer(host.tobytes(), np.uint8)
        buffer = self.gpu.allocate(len(host) + shift)
        self.gpu.copy_in(buffer.ptr + shift, host, self.stream)
        self._kept += [buffer, host]
        return buffer.ptr + shift

    def done(self) -> None:
        self.gpu.synchronize(self.stream)
        self._kept.clear()

    def gather(self) -> str | None:
        rng, case = self.rng, recorded.gather_case(self.rng)
        scene, size, bands = case.shape[1:], case.size, case.shape[0]
        tiles = [case.origin, *[tuple(int(o + rng.integers(-9, 9)) for o in case.origin) for _ in range(rng.integers(0, 3))]]
        cores = [(int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))) for _ in tiles]
        places = [(*t, *c, int(rng.integers(1, size[0] - c[0] + 1)), int(rng.integers(1, size[1] - c[1] + 1)))
                  for t, c in zip(tiles, cores)]
        options = gather_options(case)
        expected = [self._native_gather(case, options, tile) for tile in tiles]
        shift = int(rng.choice([0, 0, 4, 8, 12]))
        tile = Output(self.gpu, self.stream, 4 * bands * size[0] * size[1] * len(tiles), shift)
        status = Output(self.gpu, self.stream, size[0] * size[1] * len(tiles), int(rng.integers(0, 5)))
        seen = self.upload(np.zeros(len(tiles), np.uint32))
        values = self.upload(case.memory, int(rng.integers(0, 17)) * int(rng.integers(0, 2))) + case.offset
        valid = None if case.valid is None else (self.upload(case.valid, int(rng.integers(0, 3))), scene[1], 1)
        there = self.gpu.native.Scene(values, recorded.ELEMENTS[case.element], case.shape, case.strides, valid, (0, 0), scene)
        self.gpu.native.Gather(**options).run(there, places, size, tile.memory, status.memory, (seen, 4 * len(tiles)), self.queue)
        got = tile.read() + status.read()
        flags = np.empty(len(tiles), np.uint32)
        self.gpu.copy_out(flags, seen, self.stream)
        self.done()
        wanted = b"".join(t for t, _ in expected) + b"".join(s.tobytes() for _, s in expected)
        full = [int((s[p[2]:p[2] + p[4], p[3]:p[3] + p[5]] != 1).any()) for (_, s), p in zip(expected, places)]
        if got == wanted and flags.tolist() == full:
            return None
        return f"gather of {case.shape} {recorded.ELEMENTS[case.element]} {options} places {places} size {size}: {_where(got, wanted)}"

    def _native_gather(self, case: recorded.GatherCase, options: dict, origin: tuple[int, int]) -> tuple[bytes, np.ndarray]:
        tile, status = np.empty((case.shape[0], *case.size), np.float32), np.empty(case.size, np.uint8)
        _native.Gather(**options).run(case.values(), (0, 0), case.shape[1:], origin, tile, status, None if case.valid is None else
                                      case.valid.reshape(case.shape[1:]), 2)
        return tile.tobytes(), status

    def finish(self) -> str | None:
        rng = self.rng
        (classes, rows, cols, stride, *place, gap, scored, score_class), logits, status = recorded.finish_case(rng)
        tiles = int(rng.integers(1, 4))
        if rng.random() < 0.4:                          # as networks give them: most below the bound of a quick softmax, or about it
            logits = rng.normal(0, rng.choice([0.5, 4.0, 15.0, 40.0]), logits.size).astype(np.float32)
        logits = np.stack([logits.reshape(classes, rows, cols)] + [rng.permutation(logits).reshape(classes, rows, cols)] * (tiles - 1))
        status = np.stack([rng.permutation(status).reshape(rows * stride, cols * stride) for _ in range(tiles)])
        kept, pitch = place[2:], tiles * (place[3] + gap)
        shape = (2, kept[0], pitch)
        wanted, counts = np.full(shape, POISON, np.uint8), np.zeros((tiles, 2), np.int64)
        columns = [i * (kept[1] + gap) for i in range(tiles)]
        for i, at in enumerate(columns):
            views = wanted[:, :, at:at + kept[1]]
            counts[i] = _native.finish(logits[i], stride, status[i], tuple(place[:2]), views[0], views[1] if scored else None, 2, score_class)
        maps = [Output(self.gpu, self.stream, kept[0] * pitch, int(rng.integers(0, 5))) for _ in range(2)]
        totals = self.upload(np.zeros((tiles, 2), np.int64))
        self.gpu.native.finish(
            (self.upload(logits, 4 * int(rng.integers(0, 3))), logits.nbytes), (classes, rows, cols), stride,
            (self.upload(status, int(rng.integers(0, 5))), status.nbytes), [(*place, at) for at in columns],
            (*maps[0].memory, pitch), (*maps[1].memory, pitch) if scored else None, (totals, 16 * tiles), self.queue, score_class)
        got, sums = maps[0].read() + maps[1].read(), np.empty((tiles, 2), np.int64)
        self.gpu.copy_out(sums, totals, self.stream)
        self.done()
        if got == wanted.tobytes() and (sums == counts).all():
            return None
        return (f"finish of {tiles} x {classes} x {rows} x {cols} stride {stride} place {place} gap {gap} score {scored} of {score_class}: "
                f"{_where(got, wanted.tobytes())}, counts {sums.tolist()} for {counts.tolist()}")

    def speckle(self) -> str | None:
        rng = self.rng
        calm = rng.random() < 0.3
        case = recorded_speckle.calm_case(rng) if calm else recorded_speckle.speckle_case(rng, recorded.wild_floats(rng, int(rng.integers(1, 9000))))
        bands, rows, cols = case.image.shape
        wanted = np.empty((bands, case.count, cols), np.float32)
        _native.Speckle(*case.config).run(case.image, case.mask, case.bright, case.first, wanted, 2)
        out = Output(self.gpu, self.stream, wanted.nbytes, int(rng.choice([0, 4, 8, 12])))
        shift = 4 * int(rng.integers(0, 4))
        mask = None if case.mask is None else (self.upload(case.mask, int(rng.integers(0, 3))), case.mask.nbytes)
        self.gpu.native.Speckle(*case.config).run((self.upload(case.image, shift), case.image.nbytes), (bands, rows, cols), mask,
                                                  case.bright, (case.first, case.count), out.memory, self.queue)
        got = out.read()
        self.done()
        if got == wanted.tobytes():
            return None
        return (f"{case.config} on {case.image.shape}, rows {case.first} + {case.count}, mask {case.mask is not None}: "
                f"{_where(got, wanted.tobytes())}")

    def counts(self) -> str | None:
        rng = self.rng
        bands, rows, cols = (int(n) for n in rng.integers(1, (3, 40, 300)))
        values = np.abs(recorded.wild_floats(rng, bands * rows * cols)).reshape(bands, rows, cols)
        mask = rng.choice(np.uint8([0, 1, 2]), (rows, cols), p=[0.1, 0.8, 0.1]) if rng.random() < 0.5 else None
        missing = int(rng.integers(0, 3))           # 0 of a mask, 1 of gather's status
        low, high, bins = -3.0, float(rng.uniform(1, 40)), int(rng.integers(1, 500))
        wanted = [np.zeros((bands, _native.POWER_BINS), np.int64), np.zeros((bands, 2), np.int64), np.zeros(bins, np.int64)]
        _native.count_power(values, mask, *wanted[:2], missing)
        _native.count_between(values, low, high, wanted[2])
        there = (self.upload(values, 4 * int(rng.integers(0, 4))), values.nbytes)
        sums = [(self.upload(np.zeros_like(w)), w.nbytes) for w in wanted]
        self.gpu.native.count_power(there, None if mask is None else (self.upload(mask), mask.nbytes), bands, rows * cols, *sums[:2],
                                    self.queue, missing)
        self.gpu.native.count_between(there, values.size, low, high, sums[2], bins, self.queue)
        got = [np.empty_like(w) for w in wanted]
        for host, (address, _) in zip(got, sums):
            self.gpu.copy_out(host, address, self.stream)
        self.done()
        wrong = [name for name, a, b in zip(("histogram", "totals", "between"), got, wanted) if (a != b).any()]
        return f"counts of {values.shape}, {bins} bins: {', '.join(wrong)} differ" if wrong else None

    def saturation(self) -> str | None:
        """Against NumPy: there is no other twin."""
        rng, case, declared = self.rng, *saturation_case(self.rng)
        values, mask = case.values(), None if case.valid is None else case.valid.reshape(case.shape[1:])
        declared = as_stored(declared, values.dtype)
        with np.errstate(all="ignore"):                 # NaNs that signal
            wanted = int(np.count_nonzero(saturated(values, mask, declared)))
        level, nodata = stored_level(declared, values.dtype), list(declared.nodata)
        there = self.upload(case.memory, int(rng.integers(0, 17)) * int(rng.integers(0, 2))) + case.offset
        valid = None if mask is None else (self.upload(mask, int(rng.integers(0, 3))), mask.shape[1], 1)
        scene = self.gpu.native.Scene(there, recorded.ELEMENTS[case.element], case.shape, case.strides, valid, (0, 0), case.shape[1:])
        total = Output(self.gpu, self.stream, 8)
        if level is not None:
            self.gpu.native.count_saturated(scene, nodata, level, total.memory, self.queue)
        got = int(np.frombuffer(total.read(), np.int64)[0]) - int(np.full(8, POISON, np.uint8).view(np.int64)[0])       # it adds
        self.done()
        return None if got == wanted else f"{got} of {wanted} saturated pixels of {case.shape} {values.dtype} {case.strides}, {declared}"

    def blend(self) -> str | None:
        rng, native = self.rng, self.gpu.native
        classes, rows, cols, used = (int(n) for n in rng.integers(1, (6, 9, 200, 200)))
        used, first = min(used, cols), (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
        tile = recorded.wild_floats(rng, classes * (rows + 3) * (used + 3)).reshape(classes, rows + 3, used + 3)
        field, below = (recorded.wild_floats(rng, classes * rows * cols).reshape(classes, rows, cols) for _ in range(2))
        col, shared = int(rng.integers(0, cols - used + 1)), int(rng.integers(1, rows + 1))
        share, state = rng.integers(0, (1 << 15) + 1, used).astype(np.int32), rng.integers(0, 3, used).astype(np.uint8)
        share[rng.random(used) < 0.2] = rng.choice([0, 1 << 15])
        down = rng.integers(0, (1 << 15) + 1, shared).astype(np.int32)
        holds = [(rng.random(cols) < 0.9).astype(np.uint8) for _ in range(2)]
        there = [((self.upload(a, 4 * int(rng.integers(0, 4))), a.nbytes), a.shape) for a in (tile, field, below)]
        flat = [(self.upload(a), a.nbytes) for a in (share, state, down, *holds)]
        native.blend_tile(there[0], first, there[1], col, flat[0], (flat[1], used), self.queue)
        native.blend_strips(there[1], there[2], (flat[2], shared), flat[3], flat[4], self.queue)
        _native.blend_tile(tile, first, field, col, share, state, 2)
        _native.blend_strips(field, below, down, *holds, 2)
        got = [np.empty_like(field), np.empty_like(below)]
        for host, ((address, _), _) in zip(got, there[1:]):
            self.gpu.copy_out(host, address, self.stream)
        self.done()
        wrong = [name for name, a, b in zip(("field", "below"), got, (field, below)) if same_numbers(a, b) is False]
        return f"blend of {classes} x {rows} x {cols}, {used} used from {first}, {shared} rows: {wrong} differ" if wrong else None

    def validity(self) -> str | None:
        status = self.rng.integers(0, 3, int(self.rng.integers(1, 9000))).astype(np.uint8)
        out = Output(self.gpu, self.stream, status.nbytes, int(self.rng.integers(0, 20)))
        self.gpu.copy_in(out.ptr, status, self.stream)
        self.gpu.native.valid_of_status(out.memory, status.size, self.queue)
        got = out.read()
        return None if got == (status != 1).astype(np.uint8).tobytes() else f"masks of {status.size} pixels: {status.tolist()[:40]} ..."


def saturation_case(rng: np.random.Generator) -> tuple[recorded.GatherCase, SourceRadiometry]:
    """Stored pixels as of gather, and a declaration whose level and nodata values many of them meet."""
    case = recorded.gather_case(rng)
    with np.errstate(all="ignore"):
        values = case.values().astype("c16").ravel()
        known = values[np.isfinite(values)]
        known = known if known.size else np.ones(1, "c16")
    some = [float(part) for number in rng.choice(known, 3) for part in (number.real, -number.imag)]
    level = float(rng.choice([*some[:2], some[0] + 0.5, -1e300, 1e300, 0.0, 255.0, 32767.0, 3.4028234663852886e38]))
    nodata = rng.choice(np.float64([0.0, 7.0, 0.1, -9999.0, np.nan, 1e300, *some[2:]]), int(rng.integers(0, 4)))
    return case, SourceRadiometry(recorded.UNITS[case.unit], nodata=tuple(nodata), saturation=level)


def same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    """The same bits, but for which NaN: processors make them with payloads and signs of their own."""
    bits = one.view(np.uint32) == other.view(np.uint32)
    return bool((bits | (np.isnan(one) & np.isnan(other))).all())


def gather_options(case: recorded.GatherCase) -> dict:
    """The arguments of either Gather."""
    bands, numbers = case.shape[0], case.numbers.tolist()
    mean, gain, low, high = (numbers[3 + k * bands:3 + (k + 1) * bands] for k in range(4))
    return {"unit": recorded.UNITS[case.unit], "model_unit": recorded.UNITS[case.model_unit], "scale": numbers[0],
            "offset": numbers[1], "nodata": case.nodata.tolist(), "floor": numbers[2], "clip_low": low, "clip_high": high,
            "mean": mean, "gain": gain}


def _where(got: bytes, wanted: bytes) -> str:
    wrong = np.flatnonzero(np.frombuffer(got, np.uint8) != np.frombuffer(wanted, np.uint8))
    return f"{len(wrong)} of {len(wanted)} bytes differ, the first at {wrong[:3].tolist()}"
