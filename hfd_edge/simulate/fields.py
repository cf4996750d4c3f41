"""Random numbers that depend on nothing but (seed, field, row, col): the ground the simulator stands on.

Two kinds. Coarse lattices are hashed node by node and interpolated with cubic B-splines (region shapes, buildings). Dense
draws (speckle, texture) come in fixed blocks of BLOCK_PX x BLOCK_PX pixels, each with a Philox generator of its own. Both give
the same numbers whichever window is asked for. The bits of numpy's generators may change between numpy versions (NEP 19).
"""

from __future__ import annotations

import numpy as np

BLOCK_PX = 256
_WORD = (1 << 64) - 1


def mix64(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words so that neighbouring inputs give unrelated outputs.

    Args:
        values: any shape, uint64.
    Returns:
        the same shape, uint64, new memory.
    Source: finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def lattice_hash(seed: int, field: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """One random word per lattice node.

    Args:
        seed, field: which scene and which of its random fields.
        rows, cols: (r,) and (c,) int64 node indices, negative ones included.
    Returns:
        (r, c) uint64.
    """
    start = mix64(np.array([(seed * 0x9E3779B97F4A7C15 + field * 0xD1342543DE82EF95 + 1) & _WORD], np.uint64))
    by_row = mix64(start + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return mix64(by_row[:, None] + cols.astype(np.uint64)[None, :] * np.uint64(0xD6E8FEB86659FD93))


def lattice_uniform(seed: int, field: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """One number per lattice node, uniform on [0, 1): (r, c) float32 with 24 random bits."""
    return (lattice_hash(seed, field, rows, cols) >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -24)


def smooth_field(seed: int, field: int, rows: np.ndarray, cols: np.ndarray, coarse_px: float) -> np.ndarray:
    """Smooth noise of two octaves: hills about `coarse_px` wide, with bays and spurs a quarter of that.

    The coarse octave is interpolated onto the nodes of the fine one, so only one interpolation runs per pixel.

    Args:
        rows, cols: (r,) and (c,) int64 pixel coordinates, consecutive.
        coarse_px: node distance of the coarse lattice in pixels, the fine one has a quarter of it.
    Returns:
        (r, c) float32 around 0, standard deviation about 0.15.
    """
    fine_px = coarse_px / 4
    row_nodes, col_nodes = _nodes(rows / fine_px), _nodes(cols / fine_px)
    coarse_rows, coarse_cols = _nodes(row_nodes / 4), _nodes(col_nodes / 4)
    hills = lattice_uniform(seed, 2 * field, coarse_rows, coarse_cols) - np.float32(0.5)
    hills = _interpolate(_interpolate(hills, coarse_rows[0], row_nodes / 4).T, coarse_cols[0], col_nodes / 4).T
    bays = lattice_uniform(seed, 2 * field + 1, row_nodes, col_nodes) - np.float32(0.5)
    nodes = hills + np.float32(0.3) * bays
    by_col = np.ascontiguousarray(_interpolate(nodes.T, col_nodes[0], cols / fine_px).T)
    return _interpolate(by_col, row_nodes[0], rows / fine_px)


def block_generator(seed: int, field: int, block_row: int, block_col: int) -> np.random.Generator:
    """The generator of one random field in one block of BLOCK_PX x BLOCK_PX pixels."""
    block = lattice_hash(seed, field, np.array([block_row]), np.array([block_col]))[0, 0]
    return np.random.Generator(np.random.Philox(key=np.array([seed & _WORD, block], np.uint64)))


def gamma_speckle(generator: np.random.Generator, looks: float) -> np.ndarray:
    """Fully developed speckle of one block: (BLOCK_PX, BLOCK_PX) float32, gamma of shape `looks`, mean 1."""
    speckle = generator.standard_gamma(looks, (BLOCK_PX, BLOCK_PX), dtype=np.float32)
    speckle *= np.float32(1 / looks)
    return speckle


def correlated_speckle(seed: int, field: int, rows: np.ndarray, cols: np.ndarray, looks: float, correlation: float) -> np.ndarray:
    """Speckle whose neighbours are correlated: a mean over looks of |complex Gaussian through a point spread function|^2.

    Exactly gamma for a whole number of looks; between two of them the last look weighs less, chosen so that mean 1 and variance 1 / looks still hold.

    Args:
        rows, cols: (r,) and (c,) int64 pixel coordinates, consecutive.
        looks: at least 1.
        correlation: of the intensity of horizontal or vertical neighbours, above 0 and at most 0.5.
    Returns:
        (r, c) float32.
    """
    amplitude = np.sqrt(correlation)
    side = np.float32((1 - np.sqrt(1 - 2 * amplitude ** 2)) / (2 * amplitude))   # of taps (side, 1, side) along each axis
    weights = look_weights(looks)
    wide_rows, wide_cols = np.arange(rows[0] - 1, rows[-1] + 2), np.arange(cols[0] - 1, cols[-1] + 2)
    total = np.zeros((rows.size, cols.size), np.float32)
    for look, weight in enumerate(weights):
        signal = _complex_gaussian(seed, field * 64 + look, wide_rows, wide_cols)
        signal = signal[1:-1] + side * (signal[:-2] + signal[2:])
        signal = signal[:, 1:-1] + side * (signal[:, :-2] + signal[:, 2:])
        total += np.float32(weight) * (signal.real ** 2 + signal.imag ** 2)
    return total * np.float32(1 / (sum(weights) * (1 + 2 * float(side) ** 2) ** 2))


def look_weights(looks: float) -> list[float]:
    """Weights of ceil(looks) single looks whose mean has exactly `looks` equivalent looks, (sum w)^2 / sum w^2."""
    whole = int(np.floor(looks))
    if whole == looks:
        return [1.0] * whole
    # (whole + b)^2 = looks (whole + b^2), the root between 0 and 1
    a, b, c = looks - 1, -2.0 * whole, whole * (looks - whole)
    return [1.0] * whole + [float((-b - np.sqrt(b * b - 4 * a * c)) / (2 * a))]


def _complex_gaussian(seed: int, field: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """(r, c) complex64, circular, unit mean power (Box and Muller)."""
    words = lattice_hash(seed, field, rows, cols)
    unit = ((words >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0 ** -24)
    angle = (words & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0 ** -24)
    radius = np.sqrt(-np.log(unit))
    return (radius * np.cos(angle) + 1j * (radius * np.sin(angle))).astype(np.complex64)


def _nodes(positions: np.ndarray) -> np.ndarray:
    """Lattice nodes a cubic B-spline needs for positions (in node distances, ascending)."""
    return np.arange(int(np.floor(positions[0])) - 1, int(np.floor(positions[-1])) + 3)


def _interpolate(nodes: np.ndarray, first: int, positions: np.ndarray) -> np.ndarray:
    """Cubic B-spline along axis 0: (k, n) nodes from index `first` on, at (m,) positions, to (m, n) float32."""
    base = np.floor(positions)
    f = (positions - base)[:, None]
    index = base.astype(np.int64) - 1 - first
    taps = ((1 - f) ** 3 / 6, (3 * f ** 3 - 6 * f ** 2 + 4) / 6, (-3 * f ** 3 + 3 * f ** 2 + 3 * f + 1) / 6, f ** 3 / 6)
    total = nodes[index]
    total *= taps[0].astype(np.float32)
    for k in range(1, 4):
        part = nodes[index + k]
        part *= taps[k].astype(np.float32)
        total += part
    return total
