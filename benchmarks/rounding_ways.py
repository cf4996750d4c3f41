"""Weights rounded to the nearest beside weights rounded by what their convolutions read: labels that flip, same scenes and ranges.

    python benchmarks/rounding_ways.py                                          # the shipped demo engine on simulated scenes
    python benchmarks/rounding_ways.py model.engine --data scenes               # an engine of yours, scenes that say their unit

Nothing is kept in float. Every second scene calibrates, the others are judged, as in `hfd-edge export`. Needs .venv-train.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import hfd_edge
from hfd_edge.export.build_graphs import CALIBRATION_TILES
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.calibration_data import halves, open_scenes, tiles_of
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_options import Int8Options
from hfd_edge.export.quantize_trt import to_int8_trt
from hfd_edge.export.verify import GATE_TILE_PX, MOST_TILES, judge_runs, remembering, runner
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP32
from hfd_edge.raster_run import RasterOptions

DEMO = Path(hfd_edge.__file__).parent / "data" / "demo.engine"
WAYS = {"int8-cpu, 7 bits": lambda graph, ranges: to_int8_cpu(graph, ranges, Int8Options(weight_bits=7)),
        "int8-cpu, 8 bits": lambda graph, ranges: to_int8_cpu(graph, ranges, Int8Options(weight_bits=8)), "int8-trt": to_int8_trt}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", nargs="?", type=Path, default=DEMO)
    parser.add_argument("--data", default="simulated", help="a raster, a folder of rasters, or simulated")
    parser.add_argument("--every", type=int, default=1, help="judge every n-th tile only")
    options = parser.parse_args()
    with Package.open(options.engine) as package:
        graph, spec = bytes(package.read(FP32)), package.spec
    with ExitStack() as stack:
        first, second = halves(open_scenes((options.data,), spec, stack, RasterOptions()))
        shown = list(tiles_of(first, spec, spec.tile_px, CALIBRATION_TILES))
        judged = [replace(tile, labels=None) for tile in tiles_of(second, spec, GATE_TILE_PX, MOST_TILES)][::options.every]
    ranges = calibrate(graph, [tile.pixels for tile in shown], "percentile", [tile.status for tile in shown])
    known = remembering(runner(graph), judged)
    print(f"{options.engine.name}, {options.data}: labels that flip (bound)")
    for name, make in WAYS.items():
        found = [judge_runs(known, name, runner(make(graph, own)), judged) for own in (replace(ranges, reads={}), ranges)]
        nearest, read = (f"{result.flip_rate:.3%} ({result.flip_bound:.3%})" for result in found)
        print(f"{name:18}  nearest {nearest}   by what is read {read}   of {found[0].pixels} pixels", flush=True)


if __name__ == "__main__":
    main()
