"""Two tiles at once against one after the other, on the same tiles of a scene in memory, in turns; the maps must be equal.

    python benchmarks/bench_two_at_once.py [--engine runs/bench/model.engine] [--side 5000] [--tile 1024] [--rounds 6] [--quick] [--json]

What the trial within a run (hfd_edge/run/pace.py) says of itself is told first; then two are taken whatever it said. The process is as a user's;
with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 both are faster where the system gives large pages only to who asks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from timing import faster, in_turns, tell

THREADS = 2
DEMO = Path(__file__).resolve().parent.parent / "hfd_edge" / "data" / "demo-light.engine"
ONE, TWO = "one after the other", "two at once"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, default=DEMO)
    parser.add_argument("--side", type=int, default=5000)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    from hfd_edge import Segmenter, build_info
    from hfd_edge.plan import PlanRequest
    from hfd_edge.source import ArraySource
    scene = np.random.default_rng(0).gamma(4.4, 0.02, (2, options.side, options.side)).astype(np.float32)
    maps: dict[str, list[np.ndarray]] = {}

    def job(name: str, segmenter: Segmenter, held: int | None) -> None:
        request = PlanRequest(tile=options.tile, second_bytes=held)
        run = segmenter.prepare(ArraySource(scene, 2), segmenter.declared("intensity", scene.dtype), request=request)
        if run.plan.at_once != (1 if held is None else 2):
            raise SystemExit(f"{options.side} x {options.side} in tiles of {options.tile}: the plan takes no two at once; give a larger --side")
        maps[name] = [part.labels for part in segmenter.finished_strips(run)]

    with Segmenter(options.engine, threads=THREADS) as one, Segmenter(options.engine, threads=THREADS) as two:
        known = two._engine.two_at_once
        job(TWO, two, known.held_bytes)
        said, known.pays = {True: "takes them", False: "leaves them", None: "had no time for it"}[known.pays], True
        rows = in_turns({ONE: lambda: job(ONE, one, None), TWO: lambda: job(TWO, two, known.held_bytes)}, 2 if options.quick else options.rounds)
        engine = two.engine
    if any((a != b).any() for a, b in zip(maps[ONE], maps[TWO], strict=True)):
        raise SystemExit("the maps differ")
    print(f"2 x {options.side} x {options.side} float32, tile {options.tile}, {THREADS} threads, {build_info()['simd']}, {options.engine.name}, {engine}")
    for name, row in rows.items():
        print(f"{name:22}{row.median:8.3f} s, {row.ratio:.3f} times")
    print(f"equal maps; the trial {said}")
    tell({"ratios": {"two_at_once_over_one": faster(rows, TWO, ONE)}, "seconds": {name: row.median for name, row in rows.items()}}, options.json)


if __name__ == "__main__":
    main()
