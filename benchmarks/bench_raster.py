"""File to file against the engine alone: what reading, calibrating, tiling, finishing and writing cost around it.

    python benchmarks/bench_raster.py [--quick] [--side 20000] [--rounds 3] [--json]
    python benchmarks/bench_raster.py --peak [--side 20000] [--json]

The scene is simulated and repeated to the size asked for, once as uncompressed float32 power, once as deflated uint16
amplitude. In turns: the whole run (raster to COG), and the same engine calls on the same tile shapes with nothing around them.
Wall time is what the bars are about; on a machine that others use, the CPU seconds of both tell more. Peak memory (VmHWM) is
that of a process of its own; --peak measures only that, of one run over the float32 scene. Files go to a temporary folder. Roofline: the file's
bytes read and the map's written beside a copy of memory, and the convolutions' operations beside a matrix product, in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from roofline import scene_roofline
from timing import tell

from hfd_edge.engine.choose import open_engine
from hfd_edge.package import Package
from hfd_edge.plan import PlanRequest, SceneShape, plan_tiles
from hfd_edge.raster import RasterSource
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from hfd_edge.simulate import Scene, SceneConfig

ENGINE = Path(__file__).resolve().parent.parent / "hfd_edge" / "data" / "demo.engine"
CALIBRATION = 1e-6                      # sigma nought = CALIBRATION * DN^2
SCENES = {
    "float32": {"dtype": "float32", "interleave": "band"},
    "uint16 deflate": {"dtype": "uint16", "compress": "deflate", "predictor": 2, "zlevel": 6, "interleave": "band"}}
BARS = {"float32": 0.15, "uint16 deflate": 0.30}
PEAK_BAR_GB = 1.5
ROLL_PX = 677
CHILD = """
import sys
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
with Segmenter(sys.argv[1], threads=2) as segmenter:
    segmenter.run_raster(sys.argv[2], sys.argv[3], RasterOptions(unit=sys.argv[4], scale=float(sys.argv[5]), overwrite=True))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def write_scene(path: Path, side: int, kind: str) -> None:
    """`side` x `side` pixels of two bands, a block of 2048 x 2048 simulated pixels repeated.

    The block is rolled, so that the place where its ends meet is at no multiple of a power of two, where tiles begin.
    """
    block_px = min(2048, side)
    block = Scene(SceneConfig(block_px, block_px, seed=7)).window(0, 0, block_px, block_px, eo=False).sar
    block = np.roll(block, (-ROLL_PX, -ROLL_PX), (1, 2))
    if kind.startswith("uint16"):
        block = np.round(np.sqrt(block / CALIBRATION)).clip(1, 65535).astype(np.uint16)
    across = np.tile(block, (1, 1, -(-side // block_px)))[:, :, :side]
    with rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=2, tiled=True, blockxsize=512, blockysize=512,
                       bigtiff="IF_SAFER", crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), num_threads=2,
                       **SCENES[kind]) as dataset:
        for row in range(0, side, block_px):
            rows = min(block_px, side - row)
            dataset.write(across[:, :rows], window=Window(0, row, side, rows))


def engine_alone(scene: Path) -> tuple[float, float]:
    """Wall and CPU seconds of the engine calls that a run over this raster makes, one after the other."""
    with Package.open(ENGINE) as package, RasterSource(scene) as source:
        engine = open_engine(package, "cpu", threads=2)
        shape = SceneShape(source.rows, source.cols, source.count * source.dtype.itemsize, 2, source.block_rows - 1)
        plan = plan_tiles(package.spec, shape, PlanRequest(second_bytes=engine.two_at_once.held_bytes))
        shapes = [(tile.in_rows, tile.in_cols) for strip in plan.grid.strips() for tile in strip.tiles]
        inputs = {shape: np.random.default_rng(0).normal(size=(1, 2, *shape)).astype(np.float32) for shape in set(shapes)}
        start, start_cpu = time.perf_counter(), time.process_time()
        for shape in shapes:
            engine.infer(inputs[shape])
        seconds = time.perf_counter() - start, time.process_time() - start_cpu
        engine.close()
    return seconds


def whole_run(scene: Path, target: Path, options: RasterOptions) -> tuple[tuple[float, float], dict[str, float]]:
    with Segmenter(ENGINE, threads=2) as segmenter:
        start, start_cpu = time.perf_counter(), time.process_time()
        report = segmenter.run_raster(scene, target, options)
        return (time.perf_counter() - start, time.process_time() - start_cpu), report.timings


def peak_gb(scene: Path, target: Path, unit: str, scale: float) -> float:
    """Highest resident memory of a process that does one run, in GB (10^9 bytes)."""
    words = [sys.executable, "-c", CHILD, str(ENGINE), str(scene), str(target), unit, str(scale)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout) * 1024 / 1e9


def measure(kind: str, side: int, rounds: int, folder: Path) -> dict[str, float]:
    scene, target = folder / f"{kind.split()[0]}.tif", folder / "map.tif"
    write_scene(scene, side, kind)
    unit, scale = ("intensity", 1.0) if kind == "float32" else ("amplitude", CALIBRATION ** 0.5)
    options = RasterOptions(unit=unit, scale=scale, overwrite=True)
    alone, whole, stages = [], [], {}
    for _ in range(rounds):
        alone.append(engine_alone(scene))
        seconds, stages = whole_run(scene, target, options)
        whole.append(seconds)
        print(f"{kind:15s} whole {whole[-1][0]:7.2f} s  engine alone {alone[-1][0]:7.2f} s  "
              + "  ".join(f"{name} {value:.2f}" for name, value in stages.items()), file=sys.stderr)
    peak = peak_gb(scene, target, unit, scale)
    scene.unlink()
    overhead, cpu_overhead = (statistics.median((w[i] - a[i]) / a[i] for w, a in zip(whole, alone)) for i in (0, 1))
    fastest = min(wall for wall, _ in alone) / min(wall for wall, _ in whole)
    whole_s, alone_s = (statistics.median(wall for wall, _ in runs) for runs in (whole, alone))
    return {"engine_over_run": fastest, "overhead": overhead, "cpu_overhead": cpu_overhead, "bar": BARS[kind], "whole_s": whole_s,
            "engine_alone_s": alone_s, "mpx_per_s": side * side / 1e6 / whole_s, "peak_gb": peak}


def measure_peak(side: int, folder: Path) -> dict[str, float]:
    scene = folder / "float32.tif"
    write_scene(scene, side, "float32")
    start = time.perf_counter()
    peak = peak_gb(scene, folder / "map.tif", "intensity", 1.0)
    return {"peak_gb": peak, "bar_gb": PEAK_BAR_GB, "seconds": time.perf_counter() - start}


def bounds_of(seconds: float, side: int) -> dict:
    """The float32 run against a copy and a product."""
    with Package.open(ENGINE) as package:
        return scene_roofline(bytes(package.read("graph-fp32.onnx")), side, {"float32": seconds}, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4096 x 4096, 2 rounds")
    parser.add_argument("--peak", action="store_true", help="only the peak memory of one float32 run")
    parser.add_argument("--side", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    side, rounds = (4096, 2) if arguments.quick else (arguments.side, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.peak:
            peak = measure_peak(side, Path(folder))
            print(f"float32 {side} x {side} x 2: peak {peak['peak_gb']:.2f} GB (bar {PEAK_BAR_GB}), {peak['seconds']:.0f} s with its start")
            if arguments.json:
                print(json.dumps({"side": side, **peak}))
            return
        results = {kind: measure(kind, side, rounds, Path(folder)) for kind in SCENES}
    for kind, r in results.items():
        print(f"{kind:15s} {side} x {side}: (whole - engine) / engine {r['overhead']:.3f} (bar {r['bar']:.2f}; of CPU seconds "
              f"{r['cpu_overhead']:.3f}), {r['whole_s']:.1f} s, {r['mpx_per_s']:.2f} Mpx/s, peak {r['peak_gb']:.2f} GB")
    ratios = {f"engine_over_run_{kind.split()[0]}": round(r["engine_over_run"], 3) for kind, r in results.items()}
    tell({"side": side, "rounds": rounds, "ratios": ratios, "roofline": bounds_of(results["float32"]["whole_s"], side), **results}, arguments.json)


if __name__ == "__main__":
    main()
