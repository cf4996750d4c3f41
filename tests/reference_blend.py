"""Blending once more: float64, slow, obvious. Every cell asks every tile; nothing is fused step by step."""

from __future__ import annotations

import numpy as np

ONE = 1 << 15


def weight(mode: str, inside: float, side: int, margin: int, edge_error: tuple[float, ...] = ()) -> float:
    """What a tile counts for along one axis, unnormalised, in the cell `inside` cells from the end of its used part, which is
    `side` cells wide with its overlaps at both ends."""
    if mode == "constant":
        return 1.0
    if mode == "gaussian":
        return max(np.exp(-0.5 * ((side / 2 - inside - 0.5) / (side / 8)) ** 2), 1e-3)
    error = edge_error[margin + inside] if margin + inside < len(edge_error) else 0.0
    return 1 / error if error else np.inf


def share(mode: str, cells: int, t: int, side: int, margin: int = 0, edge_error: tuple[float, ...] = ()) -> float:
    """The right tile's share of cell t of a band."""
    if mode == "hann":
        return np.sin(np.pi / 2 * (t + 0.5) / cells) ** 2
    left, right = (weight(mode, inside, side, margin, edge_error) for inside in (cells - 1 - t, t))
    if np.isinf(left) or np.isinf(right):
        return 0.5 if left == right else float(np.isinf(right))
    return right / (left + right)


def axis_weights(tiles: list[tuple[int, int, int]], table: tuple[int, ...]) -> list[dict[int, int]]:
    """For every tile along one axis its whole-number weight of each cell it is used in.

    tiles: (first used cell, cells used, first cell of its core), in order.
    """
    found = []
    for number, (first, count, core) in enumerate(tiles):
        own = {}
        for cell in range(first, first + count):
            value = ONE
            if number and cell < tiles[number - 1][0] + tiles[number - 1][1]:
                value = table[cell - core + len(table) // 2]
            elif number + 1 < len(tiles) and cell >= tiles[number + 1][0]:
                value = ONE - table[cell - tiles[number + 1][2] + len(table) // 2]
            own[cell] = value
        found.append(own)
    return found


def fuse(first: float, second: float, share_of_second: int) -> float:
    part = share_of_second / ONE
    return float((1 - part) * np.float64(first) + part * np.float64(second))


def fused(logits: dict[tuple[int, int], np.ndarray], rows: list[dict[int, int]], cols: list[dict[int, int]],
          origin: dict[tuple[int, int], tuple[int, int]], shape: tuple[int, int, int]) -> np.ndarray:
    """The weighted mean of all tiles' logits in every cell of a scene, float64; NaN where no tile answers.

    logits: of the tiles that answered, by (row, column) of the tile; origin: the scene cell of each one's first logit.
    """
    out = np.full(shape, np.nan)
    for row in range(shape[1]):
        for col in range(shape[2]):
            total, sums = 0, np.zeros(shape[0])
            for i, own_rows in enumerate(rows):
                for j, own_cols in enumerate(cols):
                    if row in own_rows and col in own_cols and (i, j) in logits:
                        count = own_rows[row] * own_cols[col]
                        top, left = origin[i, j]
                        sums = sums + count * logits[i, j][:, row - top, col - left].astype(np.float64)
                        total += count
            if total:
                out[:, row, col] = sums / total
    return out
