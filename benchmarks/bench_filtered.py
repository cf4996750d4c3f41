"""What a speckle filter in a network's spec costs a segmentation: the demo engine with and without Lee 7 x 7, in turns.

    python benchmarks/bench_filtered.py [--quick] [--side 2048] [--rounds 5] [--json]

The second engine is the first with speckle_filter: lee in its spec; its labels are worth nothing, its time is what is asked. A third job
counts saturated pixels of the unfiltered one. Seconds of the stages are those of the reports; stages overlap nowhere for an
array of this size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from timing import calm_process, faster, in_turns, tell

THREADS, LOOKS = 2, 4.4
DEMO = Path(__file__).resolve().parent.parent / "hfd_edge" / "data" / "demo.engine"
PLAIN, LEE, COUNTED = "without a filter", "Lee 7 x 7 in the spec", "saturated pixels counted"


def with_lee(folder: Path) -> Path:
    from hfd_edge.package import Package, write_package
    with Package.open(DEMO) as package:
        graphs = {name: bytes(package.read(name)) for name in package.graph_names}
        model = replace(package.spec.input, speckle_filter="lee", filter_looks=LOOKS, filter_radius=3)
        write_package(folder / "lee.engine", replace(package.spec, input=model), graphs, package.golden, {}, False)
    return folder / "lee.engine"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a scene of 1024 x 1024")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    options.side = min(options.side, 1024) if options.quick else options.side
    calm_process()
    from hfd_edge import Segmenter, build_info
    from hfd_edge.radiometry import SourceRadiometry
    from hfd_edge.simulate import Scene, SceneConfig
    power = Scene(SceneConfig(options.side, options.side, seed=1)).window(0, 0, options.side, options.side, eo=False).sar
    stored = np.clip(np.sqrt(power) * 2e4, 1, 65535).astype(np.uint16)
    declared = SourceRadiometry("amplitude", 5e-5, looks=LOOKS)
    stages: dict[str, list[dict[str, float]]] = {PLAIN: [], LEE: [], COUNTED: []}
    with tempfile.TemporaryDirectory() as folder, Segmenter(DEMO, threads=THREADS) as plain, \
            Segmenter(with_lee(Path(folder)), threads=THREADS) as filtered:
        def job(name: str, segmenter: Segmenter, radiometry: SourceRadiometry) -> None:
            stages[name].append(segmenter.run(stored, unit=radiometry, confidence=False).timings)

        rows = in_turns({PLAIN: lambda: job(PLAIN, plain, declared), LEE: lambda: job(LEE, filtered, declared),
                         COUNTED: lambda: job(COUNTED, plain, replace(declared, saturation=65535.0))}, options.rounds)
    print(f"{options.side} x {options.side} uint16, two bands, {THREADS} threads, {build_info()['simd']}, demo engine, in turns")
    for name, row in rows.items():
        parts = {stage: statistics.median(run.get(stage, 0.0) for run in stages[name][1:]) for stage in ("filter", "gather", "engine", "finish")}
        print(f"{name:28}{row.median:8.3f} s, {row.ratio:.3f} times; " + ", ".join(f"{stage} {s:.3f}" for stage, s in parts.items())
              + f"; filter / engine {parts['filter'] / parts['engine']:.2%}")
    tell({"ratios": {"plain_over_lee": faster(rows, LEE, PLAIN), "plain_over_counted": faster(rows, COUNTED, PLAIN)},
          "seconds": {name: row.median for name, row in rows.items()}}, options.json)


if __name__ == "__main__":
    main()
