"""The parts of certify_gpu.py about single operations: their bits, their memory, their speed."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from certify_context import Context, NotHere, require

OPERATIONS = ("gather", "finish", "speckle", "counts", "saturation", "blend", "validity")      # those of tests/cuda_twins.py
WANTED_SHARE = 0.8              # of the lower of two bounds, a device copy's bandwidth and arithmetic, for gather, boxcar and Lee
# Two counts a pixel give the bound by arithmetic (docs/cuda.md). Instructions, of whatever kind, that nvcc made for sm_90 (sass_path.py, sass_path_filters.py;
# on sm_87 and sm_120 within a tenth), of which a multiprocessor issues ISSUED a clock; tests hold them, so that no slower kernel lowers its own bar.
INSTRUCTIONS = {"uint16 amplitude to dB": 117, "float32 intensity to dB": 112, "float32 dB to dB": 71, "boxcar 7 x 7": 37, "lee 7 x 7": 75,
                "lee 7 x 7 with a mask": 81, "7 classes, stride 4": 269}
ISSUED = 128                            # lanes a clock of one multiprocessor
# float32 operations at the least, counted in the formulas (a division counts 9, that of a logarithm 6, no multiply-add is fused).
ARITHMETIC = {"uint16 amplitude to dB": 58, "float32 intensity to dB": 54, "boxcar 7 x 7": 13, "lee 7 x 7": 46, "lee 7 x 7 with a mask": 46}
LANES = {(7, 5): 64, (8, 0): 64}        # float32 a clock of one multiprocessor; 128 on the others
WARM_UP_S = 0.1                 # of work before anything is timed: kernels are loaded at their first launch, and an idle GPU's clocks rise slowly
CACHE_SETS = 4                  # sets of buffers in turn, so that none is found in the cache


def twins(operation: str) -> Callable[[Context], dict[str, Any]]:
    def part(context: Context) -> dict[str, Any]:
        from cuda_twins import Twins

        run = Twins(context.gpu, seed=context.calls)
        wrong = [said for said in (getattr(run, operation)() for _ in range(context.calls)) if said]
        require(not wrong, f"{len(wrong)} of {context.calls} calls differ from the CPU: {wrong[:1]}")
        return {"calls at 0 ulp": context.calls}
    return part


def sanitized(tool: str) -> Callable[[Context], dict[str, Any]]:
    def part(context: Context) -> dict[str, Any]:
        found = shutil.which("compute-sanitizer") or next(map(str, sorted(Path("/usr/local").glob("cuda*/bin/compute-sanitizer"))), None)
        if found is None:
            raise NotHere("compute-sanitizer is not installed")
        script = Path(__file__).with_name("certify_gpu.py")
        own = ["--report-api-errors", "no"] if tool == "memcheck" else []       # calls are checked where they are made; the run time's own may fail
        command = [found, "--tool", tool, *own, "--error-exitcode", "9", "--target-processes", "all", sys.executable, str(script), "--calls", "12",
                   "--out", "build/certify-sanitizer", "--only", *(f"{name} bits" for name in OPERATIONS)]
        most_s = max(20, min(90, context.left_s))
        code, said = ended(command, most_s)
        if code is None:
            raise NotHere(f"{tool} was not done after {most_s:.0f} s and was stopped; run it by itself: {' '.join(command)}; it said: {said[-600:]}")
        if "SUMMARY: " not in said:             # a debugger's rights, which Jetsons and some containers withhold, or a tool older than the driver
            raise NotHere(f"{tool} ended with {code} and no summary, so it found out nothing: {said[-1500:]}")
        require(code == 0, f"{tool} ended with {code}: {said[-1500:]}")
        return {"tool": tool}
    return part


def ended(command: list[str], most_s: float) -> tuple[int | None, str]:
    """Exit code and output of a command; None where it took longer, and nothing that it started goes on then: it would slow what is timed next."""
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=most_s)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        except BaseException:           # Ctrl-C, which does not reach a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            raise


def timed(context: Context, jobs: list[Callable[[int], None]]) -> float:
    """Median seconds of a job on the device; the jobs do the same to memory of their own, in turn.

    What is timed is enqueued behind as much that is not, while the device is busy: else the host's own time of a launch would be in it.
    """
    gpu, stream = context.gpu, context.gpu.stream()

    def enqueue() -> None:
        for job in jobs:
            job(stream.handle)

    began = time.monotonic()
    while time.monotonic() - began < WARM_UP_S:
        enqueue()
        gpu.synchronize(stream.handle)
    seconds = []
    for _ in range(context.repeats):
        first, last = gpu.event(timing=True), gpu.event(timing=True)
        enqueue()
        first.record(stream.handle)
        enqueue()
        last.record(stream.handle)
        last.synchronize()
        seconds.append(last.milliseconds_since(first) / 1e3 / len(jobs))
    return statistics.median(seconds)


def uploaded(context: Context, host: np.ndarray) -> Any:
    stream, there = context.gpu.stream(), context.gpu.allocate(host.nbytes)
    context.gpu.copy_in(there.ptr, host, stream.handle)
    context.gpu.synchronize(stream.handle)
    return there


def copy_rate(context: Context) -> float:
    """Bytes a second of a device-to-device copy, reading and writing counted."""
    nbytes = 4 * context.side**2
    pairs = [(context.gpu.allocate(nbytes), context.gpu.allocate(nbytes)) for _ in range(CACHE_SETS)]
    return 2 * nbytes / timed(context, [lambda stream, a=a, b=b: context.gpu.native.copy_on_device(b.ptr, a.ptr, nbytes, (context.gpu.index, stream))
                                        for a, b in pairs])


def rate(context: Context, name: str, jobs: list[Callable[[int], None]], nbytes: int, pixels: int) -> dict[str, Any]:
    """What an operation reaches; with known counts also its share of the lower bound of the two, and which one that is."""
    seconds, copies = timed(context, jobs), copy_rate(context)
    found: dict[str, Any] = {"ms": seconds * 1e3, "GB/s": nbytes / seconds / 1e9, "share of a copy": nbytes / seconds / copies,
                             "Gpx/s": pixels / seconds / 1e9}
    device = context.gpu.native.devices()["devices"][context.gpu.index]
    issued, most = most_by_arithmetic(name, device), copies / (nbytes / pixels)
    if name in INSTRUCTIONS:
        found |= {"share of arithmetic": pixels / seconds / issued, "share of the bound": pixels / seconds / min(most, issued),
                  "bound by": "bandwidth" if most <= issued else "arithmetic"}
    return found


def most_by_arithmetic(name: str, device: dict[str, Any]) -> float:
    """Pixels a second of a device that does nothing but issue the instructions, or add and multiply, at its highest clock; infinite where nothing
    was counted, or the driver tells no clock."""
    clocks = device["multiprocessors"] * device["clock_khz"] * 1e3 or float("inf")
    lanes = LANES.get(tuple(device["capability"]), 128)
    return min((clocks * many / counts[name] for many, counts in ((ISSUED, INSTRUCTIONS), (lanes, ARITHMETIC)) if name in counts), default=float("inf"))


def contexts_part(context: Context) -> dict[str, Any]:
    """A thread that comes with no context works, has none afterwards, and no other GPU gets one."""
    gpu, found, others = context.gpu, {}, [i for i in range(context.gpu.native.device_count()) if i != context.gpu.index]
    before = contexts_of(others)

    def work() -> None:
        try:
            found["came with"] = current_context(gpu)
            status, host, stream, done = gpu.allocate(64), gpu.pinned((64,), np.uint8), gpu.stream(), gpu.event()
            gpu.fill(status.ptr, 0, 64, stream.handle)
            gpu.native.valid_of_status((status.ptr, 64), 64, (gpu.index, stream.handle))
            gpu.copy_out(host, status.ptr, stream.handle)
            done.record(stream.handle)
            done.synchronize()
            found["worked"] = bool((host == 1).all())
            status.free()
            del host, stream, done
            found["has afterwards"] = current_context(gpu)
        except Exception as error:  # noqa: BLE001 - handed to the part, which is in another thread
            found["failed"] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if "failed" in found:
        raise found["failed"]
    found["other GPUs with a context"] = contexts_of(others) - before
    require(found == {"came with": 0, "worked": True, "has afterwards": 0, "other GPUs with a context": 0}, f"a thread is not left as it was: {found}")
    return {**found, "other GPUs": len(others)}


def current_context(gpu: Any) -> int:
    """The address of the calling thread's context, 0 = it has none."""
    before = gpu.native.enter_device(gpu.index)
    gpu.native.leave_device(before)
    return before


def contexts_of(devices: list[int]) -> int:
    """How many of these GPUs have a primary context in this process."""
    count, flags, active = 0, ctypes.c_uint(), ctypes.c_int()
    for index in devices:
        code = ctypes.CDLL("libcuda.so.1").cuDevicePrimaryCtxGetState(index, ctypes.byref(flags), ctypes.byref(active))
        require(code == 0, f"cuDevicePrimaryCtxGetState({index}) answered {code}")
        count += active.value
    return count


def copy_part(context: Context) -> dict[str, Any]:
    return {"GB/s": copy_rate(context) / 1e9}


def gather_part(context: Context) -> dict[str, Any]:
    """uint16 amplitude of two bands to clipped, normalised decibels: the default of a Sentinel-1 scene."""
    gpu, side, found = context.gpu, context.side // 2, {}
    power = np.random.default_rng(0).gamma(4, 60, (2, side, side)) + 1
    options = {"unit": "amplitude", "model_unit": "db", "scale": 0.001, "offset": 0.0, "nodata": [0.0], "floor": -35.0, "clip_low": [-35.0] * 2,
               "clip_high": [5.0] * 2, "mean": [-12.0, -18.0], "gain": [0.2, 0.18]}
    for name, unit, dtype in (("uint16 amplitude to dB", "amplitude", "u2"), ("float32 intensity to dB", "intensity", "f4"),
                              ("float32 dB to dB", "db", "f4")):
        op, stored = gpu.native.Gather(**{**options, "unit": unit}), power.astype(dtype)
        jobs, held, size = [], [], np.dtype(dtype).itemsize
        for _ in range(CACHE_SETS):
            values = uploaded(context, stored)
            tile, status = gpu.allocate(8 * side * side), gpu.allocate(side * side)
            scene = gpu.native.Scene(values.ptr, dtype, (2, side, side), (side * side * size, side * size, size), None, (0, 0), (side, side))
            held += [values, tile, status]
            jobs.append(lambda stream, s=scene, t=tile, v=status: op.run(
                s, [(0, 0, 0, 0, side, side)], (side, side), (t.ptr, t.nbytes), (v.ptr, v.nbytes), None, (gpu.index, stream)))
        found[name] = rate(context, name, jobs, side * side * (2 * size + 9), side * side)
    return judged(found, ("uint16 amplitude to dB", "float32 intensity to dB"))


def filters_part(context: Context) -> dict[str, Any]:
    gpu, side, found = context.gpu, context.side, {}
    power = np.random.default_rng(0).gamma(4, 0.01, (side, side)).astype(np.float32)
    memory = [(uploaded(context, power), gpu.allocate(power.nbytes)) for _ in range(CACHE_SETS)]
    masks = [uploaded(context, np.ones((side, side), np.uint8)) for _ in memory]       # runs give one

    def filtered(name: str, masked: bool) -> dict[str, Any]:
        op = gpu.native.Speckle(name, "mask", 3, 4.4, 2.0, 0.4, 1.8, 0.1)
        jobs = [lambda stream, a=a, b=b, m=m: op.run((a.ptr, a.nbytes), (1, side, side), (m.ptr, m.nbytes) if masked else None, [0.1], (0, side),
                                                     (b.ptr, b.nbytes), (gpu.index, stream)) for (a, b), m in zip(memory, masks)]
        return rate(context, f"{name} 7 x 7{' with a mask' * masked}", jobs, (8 + masked) * side * side, side * side)

    for name in ("boxcar", "lee", "kuan", "enhanced_lee", "gamma_map", "frost", "refined_lee", "lee_sigma"):
        found[f"{name} 7 x 7"] = filtered(name, False)
    found["lee 7 x 7 with a mask"] = filtered("lee", True)
    return judged(found, ("boxcar 7 x 7", "lee 7 x 7", "lee 7 x 7 with a mask"))


def finish_part(context: Context) -> dict[str, Any]:
    gpu, side, classes, found = context.gpu, context.side // 2, 7, {}
    for stride, score_class in ((1, -1), (2, -1), (4, -1), (4, 3), (8, -1)):
        cells = side // stride
        jobs, held, answer = [], [], np.random.default_rng(0).normal(0, 4, (classes, cells, cells)).astype(np.float32)
        for _ in range(CACHE_SETS):
            logits = uploaded(context, answer)
            status, maps, counts = uploaded(context, np.zeros((side, side), np.uint8)), gpu.allocate(2 * side * side), gpu.allocate(16)
            held += [logits, status, maps, counts]
            jobs.append(lambda stream, lo=logits, st=status, m=maps, c=counts, of=score_class: gpu.native.finish(
                (lo.ptr, lo.nbytes), (classes, cells, cells), stride, (st.ptr, st.nbytes), [(0, 0, side, side, 0)], (m.ptr, side * side, side),
                (m.ptr + side * side, side * side, side), (c.ptr, 16), (gpu.index, stream), of))
        name = f"{classes} classes, stride {stride}{', the probability of one' * (score_class >= 0)}"
        found[name] = rate(context, name, jobs, side * side * 3 + 4 * classes * cells * cells, side * side)
    return found


def judged(found: dict[str, dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Fail where one of `names` stays under the wanted share of its bound; the figures are told either way."""
    slow = {name: found[name]["share of the bound"] for name in names if found[name]["share of the bound"] < WANTED_SHARE}
    if slow:
        wrong = AssertionError(f"under {WANTED_SHARE:.0%} of the bound: " + ", ".join(f"{name} {share:.0%} ({found[name]['bound by']})" for name, share in slow.items()))
        wrong.found = found
        raise wrong
    return found


PARTS = {**{f"{name} bits": twins(name) for name in OPERATIONS},
         "contexts": contexts_part, "memcheck": sanitized("memcheck"), "racecheck": sanitized("racecheck"), "device copy": copy_part,
         "gather speed": gather_part, "filter speed": filters_part, "finish speed": finish_part}
