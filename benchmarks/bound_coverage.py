"""How often the gate's upper 95 % bound on flips lies above the rate of the whole, by how many pixels are judged: docs/export.md, "Why a million".

    python benchmarks/bound_coverage.py

Blocks of 64 x 64 pixels of the demo student's INT8 graph beside its float one, on simulated scenes; so many of them are drawn, again and again. For rarer
flips most blocks lose theirs. Needs .venv-train.
"""

from __future__ import annotations

import argparse

import numpy as np
from rounding_ways import DEMO, WAYS

from hfd_edge.export.calibration import calibrate
from hfd_edge.export.calibration_data import open_scenes, simulated_scene, tiles_of
from hfd_edge.export.parity import full_resolution
from hfd_edge.export.verify import GATE_TILE_PX, runner
from hfd_edge.measure.flips import block_sums, upper_bound
from hfd_edge.package import Package
from hfd_edge.package.manifest import FP32

FIRST_SCENE, SIDE_PX = 500, 1024                    # of seeds that nothing else uses
BLOCKS = (30, 61, 122, 244)
KEPT = {"as they are": 1.0, "a tenth of them": 0.1}


def flips_by_block(scenes: int) -> np.ndarray:
    """(blocks, 2) valid pixels and flips."""
    with Package.open(DEMO) as package:
        graph, spec = bytes(package.read(FP32)), package.spec
    shown = list(tiles_of(open_scenes(["simulated"], spec, None), spec, spec.tile_px, 12))
    ranges = calibrate(graph, [tile.pixels for tile in shown], "percentile", [tile.status for tile in shown])
    runs = runner(graph), runner(WAYS["int8-cpu, 7 bits"](graph, ranges))
    counts = []
    for number in range(scenes):
        for tile in tiles_of([simulated_scene(FIRST_SCENE + number, spec, SIDE_PX)], spec, GATE_TILE_PX):
            one, two = (full_resolution(run(tile.pixels[None])[0], tile.pixels.shape[1:], tile.status)[0] for run in runs)
            seen = one != 255
            counts.append(block_sums(np.stack([seen, seen & (one != two)]).astype(np.float64)))
    counts = np.concatenate(counts)
    return counts[counts[:, 0] > 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--draws", type=int, default=600)
    options = parser.parse_args()
    whole, random = flips_by_block(options.scenes), np.random.default_rng(0)
    print(f"{len(whole)} blocks, {whole[:, 0].sum() / 1e6:.1f} Mpx")
    for name, share in KEPT.items():
        found = whole.copy()
        found[:, 1] *= random.random(len(found)) < share
        rate = found[:, 1].sum() / found[:, 0].sum()
        for blocks in BLOCKS:
            bounds = np.array([upper_bound(found[random.integers(0, len(found), blocks)]) for _ in range(options.draws)])
            print(f"flips {name} ({rate:.4%}), {blocks} blocks: above the rate {(bounds >= rate).mean():.1%}, on average {bounds.mean() / rate:.2f} times it",
                  flush=True)


if __name__ == "__main__":
    main()
