"""Rounding of weights once more: float64, slow, obvious. One group at a time, every step solved anew."""

from __future__ import annotations

import numpy as np


def rounded_weights(weights: np.ndarray, step: np.ndarray, weighing: np.ndarray, largest: int) -> np.ndarray:
    """Whole numbers for the weights of one group, decided from the first input to the last.

    After each decision the weights that are still free take the values that make the weighed error of all together least.

    Args:
        weights: (outputs, inputs) float64.
        step: (outputs,).
        weighing: (inputs, inputs), positive definite.
    """
    whole = np.zeros_like(weights)
    for out, row in enumerate(weights):
        for i in range(len(row)):
            error = whole[out, :i] * step[out] - row[:i]
            # minimise [error, x]' W [error, x] over the free x: W_ff x = - W_fe error
            best = row[i:] - np.linalg.solve(weighing[i:, i:], weighing[i:, :i] @ error)
            whole[out, i] = np.clip(np.rint(best[0] / step[out]), -largest, largest)
    return whole


def weighed_error(weights: np.ndarray, whole: np.ndarray, step: np.ndarray, weighing: np.ndarray) -> float:
    """Sum over outputs of e' W e, e = what rounding changed."""
    return sum(float(error @ weighing @ error) for error in whole * step[:, None] - weights)
