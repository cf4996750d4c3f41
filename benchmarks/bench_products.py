"""A Sentinel-1 product's calibration and noise removal against NumPy, line by line in float64: the same bits.

    python benchmarks/bench_products.py [--rows 1024] [--cols 25000] [--rounds 6] [--quick] [--json]

Tables lie as in an IW GRDH product: lines 668 rows apart, pixels 40 columns, three swaths of azimuth blocks; the numbers are made up. One thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from timing import faster, forget, in_turns, tell

from hfd_edge.products.tables import AzimuthBlock, BilinearTable, NoiseTable, Vector, power_by_tables

WHERE = Path("made-up.xml")
NUMPY, OURS = "NumPy, line by line", "hfd_edge"


def tables(rows: int, cols: int) -> tuple[BilinearTable, NoiseTable]:
    """Calibration and noise."""
    rng = np.random.default_rng(0)
    pixels = np.unique(np.append(np.arange(0, cols, 40), cols - 1)).astype(np.float64)

    def across(low: float, high: float) -> BilinearTable:
        return BilinearTable([Vector(float(line), pixels, rng.uniform(low, high, pixels.size)) for line in range(-300, rows + 700, 668)], cols, WHERE)

    ends = np.linspace(0, cols, 4).astype(int)
    blocks = [AzimuthBlock(0, rows - 1, first, end - 1, np.arange(0.0, rows, 100), 1 + 0.1 * rng.random(len(range(0, rows, 100))))
              for first, end in zip(ends, ends[1:])]
    return across(400, 600), NoiseTable(across(500, 2000), tuple(blocks))


def line_by_line(stored: np.ndarray, calibration: BilinearTable, noise: NoiseTable, power: np.ndarray) -> None:
    factors, ends = noise.factors(0, len(stored), 0, stored.shape[1])
    widths = np.diff(ends, prepend=0)
    for line, (numbers, out) in enumerate(zip(stored, power)):
        left = np.square(numbers.astype(np.float64)) - noise.across.row(line) * np.repeat(factors[line], widths)
        out[...] = np.maximum(left, 0.0, out=left) / np.square(calibration.row(line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--cols", type=int, default=25000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    stored = np.random.default_rng(1).integers(1, 400, (options.rows, options.cols), np.uint16)
    given, power = tables(options.rows, options.cols), {name: np.empty(stored.shape, np.float32) for name in (NUMPY, OURS)}
    rows = in_turns({NUMPY: lambda: forget(line_by_line(stored, *given, power[NUMPY])), OURS: lambda: forget(power_by_tables(stored, (0, 0), *given, power[OURS]))},
                    2 if options.quick else options.rounds)
    if (power[NUMPY].view(np.uint32) != power[OURS].view(np.uint32)).any():
        raise SystemExit("the bits differ")
    print(f"{options.rows} x {options.cols} uint16, one polarisation, one thread")
    for name, row in rows.items():
        print(f"{name:22}{1e9 * row.median / stored.size:8.2f} ns a pixel, {row.ratio:.3f} times")
    tell({"ratios": {"power_by_tables": faster(rows, OURS, NUMPY)}, "seconds": {name: row.median for name, row in rows.items()}}, options.json)


if __name__ == "__main__":
    main()
