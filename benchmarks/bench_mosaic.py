"""A mosaic of tiles against the one raster that they are: the price of reading many files.

    python benchmarks/bench_mosaic.py [--quick] [--tiles 8] [--side 1024] [--overlap 0] [--rounds 5] [--json]

The scene of bench_raster (deflated uint16 amplitude, or float32 as it is, blocks of 512 px), once as one file and once cut into tiles. In turns: all
windows of a run read and nothing else, and the whole run, raster to map. Files go to a temporary folder and are read from the system's cache.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
from bench_raster import CALIBRATION, ENGINE, SCENES, write_scene
from rasterio.windows import Window
from timing import tell

from hfd_edge import Mosaic
from hfd_edge.products import SceneRequest, open_scene
from hfd_edge.products.scene import Scene
from hfd_edge.raster_run import RasterOptions, ScenePath
from hfd_edge.segmenter import Segmenter

STRIP_PX, HALO_PX = 400, 112
CHILD = """
import sys
from hfd_edge import Mosaic
from hfd_edge.segmenter import Segmenter
path = Mosaic(sys.argv[2]) if sys.argv[2].endswith("tiles") else sys.argv[2]
with Segmenter(sys.argv[1], threads=2) as segmenter:
    segmenter.run_raster(path, sys.argv[3], unit=sys.argv[4], scale=float(sys.argv[5]), overwrite=True)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def cut(scene: Path, folder: Path, side: int, overlap: int) -> None:
    """The scene's pixels as tiles, each `overlap` further to the right and down."""
    folder.mkdir()
    with rasterio.open(scene) as whole:
        for row in range(0, whole.height, side):
            for col in range(0, whole.width, side):
                window = Window(col, row, min(side + overlap, whole.width - col), min(side + overlap, whole.height - row))
                profile = {**whole.profile, "width": window.width, "height": window.height, "transform": whole.window_transform(window)}
                with rasterio.open(folder / f"tile-{row:06d}-{col:06d}.tif", "w", **profile) as tile:
                    tile.write(whole.read(window=window))


def read_all(source: Scene) -> None:
    """Every window of a run with halos, full width."""
    reader = source.reader(0, source.cols)
    for row in range(0, source.rows, STRIP_PX):
        top, bottom = max(0, row - HALO_PX), min(source.rows, row + STRIP_PX + HALO_PX)
        reader.read(top, bottom - top)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(works: Iterable[Callable[[], object]], rounds: int) -> list[list[float]]:
    works = list(works)
    for work in works:
        work()
    return [[seconds(work) for work in (works if number % 2 else works[::-1])][::1 if number % 2 else -1] for number in range(rounds)]


def measure(kind: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    scene, tiles, target = folder / "scene.tif", folder / "tiles", folder / "map.tif"
    write_scene(scene, arguments.tiles * arguments.side, kind)
    cut(scene, tiles, arguments.side, arguments.overlap)
    unit, scale = ("intensity", 1.0) if kind == "float32" else ("amplitude", CALIBRATION ** 0.5)
    options = RasterOptions(unit=unit, scale=scale, overwrite=True)
    given = (scene, Mosaic(tiles))
    opened = statistics.median(seconds(lambda: open_scene(given[1]).close()) for _ in range(5))
    with ExitStack() as stack:
        sources = [stack.enter_context(open_scene(path, SceneRequest(raster={"threads": 2}))) for path in given]
        reads = paired([lambda source=source: read_all(source) for source in sources], arguments.rounds)
    maps = []
    with Segmenter(ENGINE, threads=2) as segmenter:

        def run(path: ScenePath) -> None:
            segmenter.run_raster(path, target, options)
            with rasterio.open(target) as made:
                maps.append(made.read(1))
        runs = paired([lambda path=path: run(path) for path in given], arguments.rounds)
    if any((made != maps[0]).any() for made in maps):
        raise SystemExit(f"{kind}: the mosaic's map is not the raster's")
    peak = [int(subprocess.run([sys.executable, "-c", CHILD, str(ENGINE), str(path), str(target), unit, str(scale)], check=True, capture_output=True,
                               text=True).stdout) * 1024 / 1e9 for path in (scene, tiles)]

    def ratio(pairs: list[list[float]]) -> float:
        return float(np.median([many / one for one, many in pairs]))
    return {"open_s": opened, "read_one_s": float(np.median(reads, axis=0)[0]), "read_ratio": ratio(reads), "run_one_s": float(np.median(runs, axis=0)[0]),
            "run_ratio": ratio(runs), "peak_one_gb": peak[0], "peak_gb": peak[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 x 4 tiles of 512 px, 2 rounds")
    parser.add_argument("--tiles", type=int, default=8, help="along each side")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tiles, arguments.side, arguments.rounds = 4, 512, 2
    results = {}
    for kind in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            results[kind] = r = measure(kind, arguments, Path(folder))
        print(f"{kind:15s} {arguments.tiles} x {arguments.tiles} tiles of {arguments.side} px: opening {r['open_s']:.2f} s; reading {r['read_ratio']:.2f} times "
              f"one raster's {r['read_one_s']:.2f} s; whole run {r['run_ratio']:.3f} times its {r['run_one_s']:.2f} s; peak {r['peak_gb']:.2f} and "
              f"{r['peak_one_gb']:.2f} GB")
    tell({"tiles": arguments.tiles, "side": arguments.side, "overlap": arguments.overlap, "rounds": arguments.rounds,
          "ratios": {f"mosaic_{kind.split()[0]}": round(1 / r["run_ratio"], 3) for kind, r in results.items()}, **results}, arguments.json)


if __name__ == "__main__":
    main()
