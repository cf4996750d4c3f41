"""Weights rounded so that what a convolution makes of real pixels changes least, instead of each weight by itself.

Where two inputs say much the same, as neighbouring pixels of a depthwise convolution do, one weight rounded up is made good by the
next one rounded down. The weights are rounded one after another; what is lost goes to those that are still free, by the covariance of
what they read, and what is left of the mean to the bias. Source: the optimal brain surgeon (Hassibi and Stork, 1993), in GPTQ's
order (Frantar et al., arXiv 2210.17323). Twin: tests/reference_rounding.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from hfd_edge.export.calibration_reads import Reads
from hfd_edge.export.quantize_layout import attributes_of, own_constants

DAMPING = 0.1               # of the inputs' mean variance, added to each: other scenes are not quite like these
_AT_ONCE = 32               # inputs whose losses reach those further on by one product of matrices: nothing else changes
LARGEST = {7: 64, 8: 127}   # of a weight's whole numbers; 64 by two products of 255 still fits 16 bits


def round_weights(model: onnx.ModelProto, reads: Mapping[str, Reads], bits: int, left: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Round the weights of convolutions in place, and mend their biases.

    Args:
        model: float, changed in place: weights become whole multiples of their channel's step.
        reads: of its convolutions, by the name of their output.
        bits: 7 or 8.
        left: names of convolutions to leave as they are.
    Returns:
        by name of the weights the step of each channel, (channels,) float32. Weights that several nodes share are left alone.
    """
    constants, steps = {t.name: t for t in model.graph.initializer}, {}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.output[0] not in reads or node.name in left or not own_constants(model, node.input[1:2], constants):
            continue
        seen, groups = reads[node.output[0]], attributes_of(node).get("group", 1)
        weights = numpy_helper.to_array(constants[node.input[1]])
        rows = weights.reshape(groups, len(weights) // groups, -1).astype(np.float64)
        step = (np.abs(rows).max(axis=2, keepdims=True) / LARGEST[bits]).astype(np.float32)
        step[step < np.finfo(np.float32).tiny] = 1
        biased = len(node.input) > 2 and own_constants(model, node.input[2:3], constants)
        edges = np.cumsum([block.shape[1] for block in seen.covariance])[:-1]
        whole = [rounded(part, step, _weighing(block, mean, biased), LARGEST[bits])
                 for part, block, mean in zip(np.split(rows, edges, axis=2), seen.covariance, np.split(seen.mean, edges, axis=1))]
        made = np.concatenate(whole, axis=2) * step.astype(np.float64)
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(made.reshape(weights.shape).astype(np.float32), node.input[1]))
        if biased:
            shift = ((made - rows) @ seen.mean[:, :, None]).reshape(-1)
            bias = numpy_helper.to_array(constants[node.input[2]]) - shift
            constants[node.input[2]].CopyFrom(numpy_helper.from_array(bias.astype(np.float32), node.input[2]))
        steps[node.input[1]] = step.reshape(-1)
    return steps


def with_steps(steps: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Options of ONNX Runtime's quantiser by which it takes these steps instead of its own."""
    return {"TensorQuantOverrides": {name: [{"axis": 0, "scale": step, "zero_point": np.int8(0)} for step in each] for name, each in steps.items()}}


def _weighing(covariance: np.ndarray, mean: np.ndarray, biased: bool) -> np.ndarray:
    """What an error costs: without a bias that takes the mean, the mean counts too."""
    return covariance if biased else covariance + mean[:, :, None] * mean[:, None, :]


def rounded(weights: np.ndarray, step: np.ndarray, weighing: np.ndarray, largest: int) -> np.ndarray:
    """Whole numbers whose multiples of `step` change the weighed sums least, each decided in the light of those before it.

    Args:
        weights: (groups, outputs, inputs) float64.
        step: (groups, outputs, 1) float32, above 0.
        weighing: (groups, inputs, inputs) float64, symmetric, no eigenvalue below 0: the cost of an error e is e' weighing e.
        largest: of the whole numbers, either sign.
    Returns:
        (groups, outputs, inputs) float64.
    """
    inputs = weights.shape[2]
    variance = np.trace(weighing, axis1=1, axis2=2)[:, None, None] / inputs
    damped = weighing + np.eye(inputs) * np.where(variance > 0, DAMPING * variance, 1)
    spread = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)       # row i: how input i's error is best made good by those after it
    free, whole, step = weights.copy(), np.empty_like(weights), step[:, :, 0].astype(np.float64)
    for first in range(0, inputs, _AT_ONCE):
        last = min(first + _AT_ONCE, inputs)
        lost = np.empty((*step.shape, last - first))
        for i in range(first, last):
            whole[:, :, i] = np.clip(np.rint(free[:, :, i] / step), -largest, largest)
            lost[:, :, i - first] = (free[:, :, i] - whole[:, :, i] * step) / spread[:, i, i, None]
            free[:, :, i + 1:last] -= lost[:, :, i - first, None] * spread[:, None, i, i + 1:last]
        free[:, :, last:] -= lost @ spread[:, first:last, last:]
    return whole
