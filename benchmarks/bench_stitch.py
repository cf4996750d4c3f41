"""The work around an engine: scene in memory to class map, 2 x 4096 x 4096, 7 classes, tile 512, overlap 64, 2 threads.

    python benchmarks/bench_stitch.py [--quick] [--json] [--engine model.engine] [--terratorch tiled_inference.py]

Everyone runs the same stub engine (a 1 x 1 convolution in torch), whose seconds are taken off; all in turns. Peers that are not
installed are left out, said aloud (benchmarks/requirements.txt). The FP32 engine's time is that of the same number of tiles.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from roofline import COPY, PRODUCT, Work, bound_jobs, lacking, roofline
from timing import Seconds, calm_process, faster, in_turns, show, tell

ROOT = Path(__file__).resolve().parent.parent
THREADS, HALO = 2, 32
BAND = {"model_unit": "db", "scale": 1.0, "offset": 0.0, "nodata": [-9999.0], "floor": -35.0, "clip_low": [-35.0] * 2,
        "clip_high": [5.0] * 2, "mean": [-12.0] * 2, "gain": [0.25] * 2}


def ours(scene: np.ndarray, engine, stride: int, unit: str = "db", confident: bool = False) -> np.ndarray:
    """gather, the engine, finish; one tile's memory and the map."""
    import torch
    from stitch_peers import STEP, TILE

    from hfd_edge import _native
    gather = _native.Gather(unit=unit, **BAND)
    rows, cols = scene.shape[1:]
    tile, status = np.empty((2, TILE, TILE), np.float32), np.empty((TILE, TILE), np.uint8)
    labels, sure = np.empty((rows, cols), np.uint8), np.empty((rows, cols), np.uint8) if confident else None
    for r in range(0, rows, STEP):
        for c in range(0, cols, STEP):
            gather.run(scene, (0, 0), (rows, cols), (r - HALO, c - HALO), tile, status, None, THREADS)
            logits = engine(torch.from_numpy(tile)[None])[0].numpy()
            window = np.s_[r:min(r + STEP, rows), c:min(c + STEP, cols)]
            _native.finish(logits, stride, status, (HALO, HALO), labels[window], sure if sure is None else sure[window], THREADS)
    return labels


def ours_blended(scene: np.ndarray, engine, stride: int, mode: str = "hann") -> np.ndarray:
    """The same tiles, fused over the 64 pixels that two neighbours share instead of cropped."""
    import torch
    from stitch_peers import CLASSES, STEP, TILE

    from hfd_edge import _native
    from hfd_edge.stitch import MapRows, PixelCounts
    from hfd_edge.stitch.blend import BlendFrame, BlendStitch
    from hfd_edge.tiles import TileGrid
    from hfd_edge.tiles.shares import Band, Blend, shares
    gather, (rows, cols) = _native.Gather(unit="db", **BAND), scene.shape[1:]
    grid = TileGrid(rows, cols, STEP, STEP, HALO, 16, fixed_shape=True, spread_px=HALO)
    table = shares(mode, Band(2 * HALO // stride, 0, STEP // stride))
    stitch = BlendStitch(BlendFrame(grid, Blend(mode, 2 * HALO, table, table), CLASSES, stride, MapRows(cols, None), THREADS), PixelCounts())
    tile, status = np.empty((2, TILE, TILE), np.float32), np.empty((TILE, TILE), np.uint8)
    labels, finished = np.empty((rows, cols), np.uint8), []
    for strip in grid.strips():
        part = stitch.open(strip)
        for at in strip.tiles:
            gather.run(scene, (0, 0), (rows, cols), (at.in_row, at.in_col), tile, status, None, THREADS)
            part.put(at, engine(torch.from_numpy(tile)[None])[0].numpy(), status)
        finished += stitch.close(part)
        for done in finished if strip.row + strip.rows < rows else finished + stitch.end():
            labels[done.strip.row:done.strip.row + done.strip.rows] = done.labels
        finished = []
    return labels


def jobs_of(scene: np.ndarray, terratorch: Path | None) -> dict:
    """Ours and the peers that are installed, by name."""
    import stitch_peers as peers
    power = (10 ** (scene / 10)).astype(np.float32)
    jobs = {
        "ours_stride4": lambda: peers.timed(lambda e: ours(scene, e, 4), 4),
        "ours_full": lambda: peers.timed(lambda e: ours(scene, e, 1)),
        "ours_stride4_confidence_log": lambda: peers.timed(lambda e: ours(power, e, 4, "intensity", True), 4),
        "ours_blended_stride4": lambda: peers.timed(lambda e: ours_blended(scene, e, 4), 4),
        "ours_blended_full": lambda: peers.timed(lambda e: ours_blended(scene, e, 1)),
        "numpy_crop": lambda: peers.timed(lambda e: peers.numpy_crop(scene, e))}
    known = {"monai_gaussian": ("monai", peers.monai_gaussian), "pytorch_toolbelt": ("pytorch_toolbelt", peers.toolbelt)}
    for name, (module, run) in known.items():
        if not lacking(module):
            jobs[name] = lambda run=run: peers.timed(lambda e: run(scene, e))
    if terratorch is None:
        return jobs
    run_terratorch = peers.terratorch_from(terratorch)
    return {**jobs, "terratorch": lambda: peers.timed(lambda e: run_terratorch(scene, e))}


def fp32_engine(path: Path, tiles: int):
    """A job that runs the package's FP32 graph on so many tiles, and gives no seconds away: they are what is measured."""
    from hfd_edge.engine.onnxruntime import OnnxRuntimeEngine
    from hfd_edge.package import Package
    engine = OnnxRuntimeEngine(Package.open(path), "graph-fp32.onnx", THREADS)
    batch = np.random.default_rng(1).normal(size=(1, 2, 512, 512)).astype(np.float32)
    return lambda: [engine.infer(batch) for _ in range(tiles)] and None


def extra_megabytes() -> float:
    """Peak memory that a run from stride-4 logits adds to scene, map and libraries, in a process of its own."""
    code = """if 1:
        import sys; sys.path[:0] = ['benchmarks', '.']
        import numpy as np, torch
        from bench_stitch import ours
        from tests.peak import peak_kib
        scene = np.random.default_rng(0).standard_normal((2, 2048, 2048), np.float32)    # no float64 copy: it would be the peak
        logits = torch.zeros((1, 7, 128, 128))
        ours(np.ascontiguousarray(scene[:, :64, :64]), lambda b: logits, 4)
        map_kib, before = 2048 * 2048 // 1024, peak_kib()
        ours(scene, lambda b: logits, 4)
        print(max(0, peak_kib() - before - map_kib))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return int(done.stdout) / 1024


def figures(rows: dict[str, Seconds], pixels: int) -> dict:
    found = {f"{name}_ns_per_px": round(1e9 * row.median / pixels, 3) for name, row in rows.items() if name not in (COPY, PRODUCT)}
    for name in ("full", "stride4", "stride4_confidence_log", "blended_stride4", "blended_full"):
        found[f"ours_ns_per_px_{name}"] = found.pop(f"ours_{name}_ns_per_px")
    return found


def ends(rows: dict[str, Seconds], work: Work, terratorch: Path | None) -> dict:
    """Ratios, roofline, and who is not here."""
    ratios = {f"{name}_over_ours_stride4": faster(rows, "ours_stride4", name) for name in ("numpy_crop", "monai_gaussian", "pytorch_toolbelt", "terratorch")
              if name in rows}
    if "fp32_engine" in rows:
        ratios["fp32_engine_over_ours_stride4"] = faster(rows, "ours_stride4", "fp32_engine")
    missing = lacking("monai", "pytorch_toolbelt")
    if terratorch is None:
        missing["terratorch"] = "no --terratorch: give its tiled_inference.py (benchmarks/requirements.txt)"
    return {"ratios": ratios, "roofline": roofline(rows, {"ours_stride4": work}), "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2048 x 2048 pixels, fewer rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--engine", type=Path, default=ROOT / "hfd_edge" / "data" / "demo.engine")
    parser.add_argument("--terratorch", type=Path, help="TerraTorch's tiled_inference.py")
    options = parser.parse_args()
    calm_process()
    import torch
    torch.set_num_threads(THREADS)
    side = 2048 if options.quick else 4096
    scene = np.random.default_rng(0).normal(-12, 4, (2, side, side)).astype(np.float32)
    jobs = jobs_of(scene, options.terratorch)
    tiles = len(range(0, side, 448)) ** 2
    if options.engine.is_file():
        jobs["fp32_engine"] = fp32_engine(options.engine, tiles)
    else:
        print(f"the FP32 engine is left out: {options.engine} is not a file; give one with --engine")
    start = time.perf_counter()
    rows = in_turns({**jobs, **bound_jobs(THREADS)}, 3 if options.quick else 7)
    show({name: row for name, row in rows.items() if name not in (COPY, PRODUCT)}, side * side)
    found = {**figures(rows, side * side), "ours_extra_mb": round(extra_megabytes(), 1), "tiles": tiles,
             "seconds": round(time.perf_counter() - start, 1)}
    if "fp32_engine" in rows:
        found["ours_share_of_fp32_engine"] = round(rows["ours_stride4"].median / rows["fp32_engine"].median, 4)
    halo = tiles * 512 * 512 / (side * side)            # gather: 17 bytes and 36 operations a tile pixel; finish, stride 4: 3.75 and 60
    found |= ends(rows, Work((17 * halo + 3.75) * side * side, (36 * halo + 60) * side * side), options.terratorch)
    for name, why in found["missing"].items():
        print(f"{name} is left out: {why}")
    tell(found, options.json)


if __name__ == "__main__":
    main()
