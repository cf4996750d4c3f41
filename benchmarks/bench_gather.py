"""gather against its bounds: nanoseconds per tile pixel, two bands, one thread and two.

    python benchmarks/bench_gather.py [--quick] [--json]

Hot: the same 512 x 512 tile of values again and again. The bandwidth bound is that of a copy of as many bytes (values read, tile
and status written) by the same number of threads; from memory: tiles of a scene of 2 x 4096 x 4096, against NumPy's copy of it. The baseline
is NumPy as one writes it (logarithm, floor, clip, z-score).
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from roofline import COPY, PRODUCT, Work, bound_jobs, roofline
from timing import calm_process, faster, in_turns, show, tell

TILE = 512
POWER, DECIBEL, NUMPY = "intensity to dB, float32", "dB to dB, float32", "NumPy, intensity to dB"


def sources(side: int) -> dict:
    """(gather, values) by name."""
    from hfd_edge import _native
    rng = np.random.default_rng(0)
    decibel = rng.normal(-12, 4, (2, side, side)).astype(np.float32)
    band = {"clip_low": [-35.0] * 2, "clip_high": [5.0] * 2, "mean": [-12.0] * 2, "gain": [0.25] * 2}
    common = {"model_unit": "db", "offset": 0.0, "floor": -35.0, **band}
    return {
        "dB to dB, float32": (_native.Gather(unit="db", scale=1.0, nodata=[-9999.0], **common), decibel),
        "intensity to dB, float32": (_native.Gather(unit="intensity", scale=1.0, nodata=[0.0], **common),
                                     (10 ** (decibel / 10)).astype(np.float32)),
        "amplitude to dB, uint16": (_native.Gather(unit="amplitude", scale=1e-3, nodata=[0.0], **common),
                                    rng.integers(0, 3000, (2, side, side)).astype(np.uint16))}


def jobs_of(side: int, threads: int) -> dict:
    """One pass over all whole tiles of a scene of side x side, by name, and a copy of the same values for the bound."""
    tile, status = np.empty((2, TILE, TILE), np.float32), np.empty((TILE, TILE), np.uint8)
    corners = [(r, c) for r in range(0, side, TILE) for c in range(0, side, TILE)]

    def run(gather, values) -> None:
        for corner in corners:
            gather.run(values, (0, 0), (side, side), corner, tile, status, None, threads)

    def copy(values) -> None:
        for r, c in corners:
            tile[...] = values[:, r:r + TILE, c:c + TILE]
            status.fill(0)

    def by_numpy(power) -> None:
        for r, c in corners:
            values = 10 * np.log10(power[:, r:r + TILE, c:c + TILE])
            tile[...] = (np.clip(values, -35, 5) + 12) * np.float32(0.25)
            status.fill(0)

    made = sources(side)
    jobs = {"copy, one thread": lambda: copy(made["dB to dB, float32"][1])}
    jobs |= {name: lambda pair=pair: run(*pair) for name, pair in made.items()}
    return {**jobs, NUMPY: lambda: by_numpy(made[POWER][1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller scene, fewer rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    calm_process()
    from hfd_edge import build_info
    found = {"simd": build_info()["simd"]}
    for where, side in (("hot", TILE), ("memory", 2048 if options.quick else 4096)):
        for threads in (1, 2):
            repeat = 1 if where == "memory" else 40
            jobs = {name: lambda job=job: [job() for _ in range(repeat)] and None for name, job in jobs_of(side, threads).items()}
            rows = in_turns({**jobs, **bound_jobs(threads)}, 5 if options.quick else 11)
            print(f"== {where}, {threads} thread(s), {found['simd']}")
            show({name: row for name, row in rows.items() if name not in (COPY, PRODUCT)}, repeat * side * side)
            if threads == 1:                            # as NumPy has; two would be at the mercy of whoever else wants a core
                found["ratios"] = {"numpy_over_gather": faster(rows, POWER, NUMPY), "copy_over_gather_dB": faster(rows, DECIBEL, "copy, one thread")}
            for name, row in rows.items():
                if name in (COPY, PRODUCT):
                    continue
                key = f"{where}_{threads}_{name}".replace(", ", "_").replace(" ", "_")
                found[f"{key}_ns_per_px"] = round(1e9 * row.median / (repeat * side * side), 3)
                found[f"{key}_share_of_copy"] = round(1 / row.ratio, 3) if math.isfinite(row.ratio) else None
    pixels = side * side
    found["roofline"] = roofline(rows, {DECIBEL: Work(17 * pixels, 36 * pixels), POWER: Work(17 * pixels, 84 * pixels)})
    tell(found, options.json)


if __name__ == "__main__":
    main()
