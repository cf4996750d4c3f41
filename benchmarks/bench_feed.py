"""How fast the host can feed a GPU: a whole run of a scene in memory whose device does nothing at all, beside a copy of the pixels.

    python benchmarks/bench_feed.py [--quick] [--side 8192] [--rounds 5] [--threads 2] [--json]

No GPU is needed, and nothing is said about one: the CUDA module is the emulated one of the tests with every kernel and copy of the device
left out, and the engine is empty. What is left is what the host must do for a run: staging pixels in pinned memory, enqueueing, taking
maps from pinned memory. A GPU that labels more pixels a second than this waits for the host; `make certify` shows it where one is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import calm_process, faster, in_turns, show, tell

from hfd_edge.errors import EngineError

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "hfd_edge" / "data" / "demo.engine"
COPY = "copy of the pixels (baseline)"
RUNS = {"float32": ("float32", {}), "uint16": ("uint16", {}), "uint16, blended": ("uint16", {"stitch": "hann", "halo": 32}),
        "float32, on the device": ("float32", {"on_device": True})}


class EmptySlot:
    """An execution context that does nothing."""

    def __init__(self, spec: Any, tiles: int, rows: int, cols: int) -> None:
        s = spec.logit_stride_px
        self.tiles, self.input_shape, self.output_shape = tiles, (tiles, len(spec.bands), rows, cols), (tiles, len(spec.classes), rows // s, cols // s)

    def enqueue(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        return None

    def prepare(self, input_ptr: int, output_ptr: int, stream: int) -> None:
        return None

    def close(self) -> None:
        return None


class EmptyEngine:
    """A DeviceEngine that does nothing."""

    name, version, graph, device = "empty", "0", "none", "cuda:0"

    def __init__(self, package: Any) -> None:
        self._spec = package.spec

    def slot(self, tiles: int, rows: int, cols: int) -> EmptySlot:
        return EmptySlot(self._spec, tiles, rows, cols)

    def infer(self, batch: np.ndarray, scene: np.ndarray | None = None) -> np.ndarray:
        raise EngineError("an empty engine has no answer: it is there to be fed")

    def close(self) -> None:
        return None


def segmenter(threads: int, **options: Any) -> Any:
    from hfd_edge.segmenter import Segmenter

    class Fed(Segmenter):
        def _open_engine(self, precision: str) -> Any:
            return EmptyEngine(self._package)

    return Fed(DEMO, device="cuda:0", threads=threads, **options)


def scene(dtype: str, side: int) -> np.ndarray:
    """Noise of two bands, in the units of the declarations below."""
    stored = np.random.default_rng(0).integers(1, 60000, (2, side, side), dtype=np.uint16)
    return stored if dtype == "uint16" else stored.astype(np.float32) / np.float32(60000)


def jobs(options: argparse.Namespace, opened: list[Any], feeding: dict[str, list[float]]) -> dict[str, Callable[[], None]]:
    """Runs by name, and the copy; `feeding` gets the CPU seconds of the thread that enqueues."""
    from hfd_edge.device.array import DeviceArray
    from hfd_edge.device.memory import CudaDevice
    from hfd_edge.radiometry import SourceRadiometry

    pixels = {dtype: scene(dtype, options.side) for dtype in ("float32", "uint16")}
    declared = {"float32": SourceRadiometry("intensity"), "uint16": SourceRadiometry("amplitude", 1e-4)}
    there, made = np.empty_like(pixels["float32"]), {}
    made[COPY] = lambda: np.copyto(there, pixels["float32"])
    for name, (dtype, how) in RUNS.items():
        seg = segmenter(options.threads, **{key: value for key, value in how.items() if key != "on_device"})
        array = pixels[dtype]
        if how.get("on_device"):
            array = DeviceArray(CudaDevice(0), array.shape, array.dtype)
            unchecked(seg)
        opened.append(seg)

        def job(name: str = name, seg: Any = seg, array: Any = array, unit: Any = declared[dtype]) -> None:
            start = time.thread_time()
            seg.run(array, unit, confidence=False, allow_empty=True)      # a device that does nothing finds nothing valid
            feeding.setdefault(name, []).append(time.thread_time() - start)

        made[name] = job
    return made


def unchecked(seg: Any) -> None:
    """A device that does nothing gives no samples: those of a scene that lies there are made up."""
    from hfd_edge.source import checked as module

    real = module.sample
    made_up = np.full((len(seg.spec.bands), 1, 64), 0.1, np.float32), np.ones((1, 64), bool)
    module.sample = lambda source: made_up if type(source).__name__ == "DeviceArraySource" else real(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a scene of 4096 x 4096")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    options.side = min(options.side, 4096) if options.quick else options.side
    calm_process()
    sys.path[:0] = [str(ROOT)]
    from tests import emulated_cuda

    emulated, opened, feeding = emulated_cuda.Emulated(emulated_cuda.build()), [], {}
    with emulated.installed():
        emulated.policy("idle")
        rows = in_turns(jobs(options, opened, feeding), options.rounds)
        for seg in opened:
            seg.close()
    pixels, ours = options.side**2, [name for name in rows if name != COPY]
    print(f"2 x {options.side} x {options.side} in memory, {options.threads} threads, device and engine do nothing")
    show(rows, pixels)
    thread = {name: round(1e9 * statistics.median(seconds[1:]) / pixels, 2) for name, seconds in feeding.items()}
    print("CPU of the thread that enqueues, ns per pixel: " + ", ".join(f"{name} {value}" for name, value in thread.items()))
    fed = {name: round(1e-6 * pixels / rows[name].median) for name in ours}
    print("Mpx/s that this host can feed: " + ", ".join(f"{name} {value}" for name, value in fed.items()))
    tell({"ratios": {name: faster(rows, name, COPY) for name in ours}, "mpx_per_s": fed, "thread_ns_per_px": thread,
          "options": vars(options)}, options.json)


if __name__ == "__main__":
    main()
