"""Ways to tell the looks of a whole scene, on simulated scenes with texture whose looks are known: found over true.

    python benchmarks/looks_ways.py
"""

from __future__ import annotations

import numpy as np

from hfd_edge import _native
from hfd_edge.simulate import Scene, SceneConfig
from hfd_edge.speckle.enl import ENL_BINS, LOG2_HIGH, LOG2_LOW, WINDOW_PX, LooksCounts, enl_of

LOOKS, CORRELATIONS, GROUND = (1, 3, 4.4, 10), (0.0, 0.2, 0.45), ((3, 48), (3, 96), (5, 48), (7, 64), (11, 24))     # (seed, region_px)
SIDE_PX = 768
_BIN = (LOG2_HIGH - LOG2_LOW) / ENL_BINS


def mode(scene: np.ndarray, window_px: int = WINDOW_PX) -> float:
    """Of all windows."""
    counts = LooksCounts()
    counts.add(scene, None, window_px=window_px, threads=2)
    return enl_of(counts.windows)


def upper_tail(scene: np.ndarray) -> float:
    """The vertex of a parabola through the logarithm of the histogram's upper side, its width that of pure speckle."""
    both = LooksCounts()
    both.add(scene, None, threads=2)
    counts = both.windows
    smooth, total = np.convolve(counts, np.ones(17), "same"), np.cumsum(counts) / counts.sum()
    at = np.arange(*np.searchsorted(total, (0.95, 0.998)))
    x, y, found = LOG2_LOW + (at + 0.5) * _BIN, np.log(smooth[at]), enl_of(counts)
    for _ in range(20):
        variance = 2 * (1 + 1 / found) / WINDOW_PX ** 2 / np.log(2) ** 2 + (17 * _BIN) ** 2 / 12
        found = 2 ** (np.polyfit(x, y + x * x / (2 * variance), 1, w=np.sqrt(smooth[at]))[0] * variance)
    return float(found)


def window_zero(scene: np.ndarray) -> float:
    """1 / looks of two sizes of windows, extrapolated to none: takes slow texture away."""
    small, large = mode(scene, 9), mode(scene, 15)
    return 1 / (1 / small - (1 / large - 1 / small) * 9 / (15 - 9))


def four_around(scene: np.ndarray) -> float:
    """The mode of the windows around which the mean of four others is among the highest 5 %."""
    local = np.empty_like(scene)
    _native.Speckle("local_enl", "mask", WINDOW_PX // 2, 1.0, 0.0, 0.0, 0.0, 0.0).run(scene, None, [], 0, local, 2)
    d, end = WINDOW_PX, -WINDOW_PX
    around = (local[:, :2 * end, d:end] + local[:, 2 * d:, d:end] + local[:, d:end, :2 * end] + local[:, d:end, 2 * d:]) / 4
    chosen = local[:, d:end, d:end][around >= np.nanquantile(around, 0.95)]
    counts = np.zeros(ENL_BINS, np.int64)
    _native.count_between(chosen, LOG2_LOW, LOG2_HIGH, counts)
    return enl_of(counts)


def beside_the_evenest(scene: np.ndarray) -> float:
    """What hfd_edge does."""
    counts = LooksCounts()
    counts.add(scene, None, threads=2)
    return counts.looks


def main() -> None:
    ways = (mode, upper_tail, window_zero, four_around, beside_the_evenest)
    print("found over true, lowest and highest of", len(CORRELATIONS) * len(GROUND), "scenes")
    print("looks", *(f"{way.__name__:>20}" for way in ways))
    for looks in LOOKS:
        found = []
        for correlation in CORRELATIONS:
            for seed, region_px in GROUND:
                config = SceneConfig(SIDE_PX, SIDE_PX, seed=seed, looks=looks, region_px=region_px, speckle_correlation=correlation)
                scene = Scene(config).window(0, 0, SIDE_PX, SIDE_PX, eo=False).sar
                found.append([way(scene) / looks for way in ways])
        low, high = np.min(found, axis=0), np.max(found, axis=0)
        print(f"{looks:5g}", *(f"{f'{a:.2f} to {b:.2f}':>20}" for a, b in zip(low, high)), flush=True)


if __name__ == "__main__":
    main()
