"""Which convolutions suffer most from INT8, and which to keep in float so that a graph passes its gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration import Ranges
from hfd_edge.export.parity import GateResult, open_session
from hfd_edge.export.quantize import Int8Options, to_int8_cpu
from hfd_edge.export.quantize_cpu import quantisable

MOST_KEPT = 0.5             # a graph with more of its convolutions in float is not worth its name


def sensitivity(graph: bytes, ranges: Ranges, tiles: list[np.ndarray]) -> dict[str, float]:
    """Root mean square error of the logits when one convolution alone is quantised, over the float logits' own spread.

    Args:
        graph: serialised float ONNX.
        ranges: from `calibrate` on it.
        tiles: a few (bands, rows, cols) float32; each convolution runs all of them.
    Returns:
        by name of the convolution, the most sensitive first.
    """
    names = quantisable(graph)
    expected = _logits(graph, tiles)
    spread = float(expected.std()) or 1.0
    errors = {}
    for name in names:
        found = _logits(to_int8_cpu(graph, ranges, Int8Options(only=name, fast_layout=False)), tiles)
        errors[name] = float(np.sqrt(np.mean((found - expected) ** 2))) / spread
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def int8_that_passes(graph: bytes, ranges: Ranges, judge: Callable[[bytes], GateResult], tiles: list[np.ndarray],
                     options: Int8Options) -> tuple[bytes, GateResult, tuple[str, ...]]:
    """The INT8 graph with as few convolutions in float as its gate allows: none, else 1, 2, 4, ... of the most sensitive.

    Args:
        judge: the gate, from a graph to its result.
        tiles: for the sensitivity.
    Returns:
        (graph, its result, names kept in float); where nothing passed, the last one tried with its failures.
    """
    made = to_int8_cpu(graph, ranges, options)
    result = judge(made)
    if result.passed or result.pixels < result.thresholds.min_pixels:
        return made, result, options.keep_float
    ranked = [name for name in sensitivity(graph, ranges, tiles) if name not in options.keep_float]
    if not ranked:
        raise ExportError("the graph has no convolution that could be kept in float: INT8 is not for this network")
    count, kept = 1, options.keep_float
    while not result.passed and count <= max(1, int(MOST_KEPT * len(ranked))):
        kept = (*options.keep_float, *ranked[:count])
        made = to_int8_cpu(graph, ranges, replace(options, keep_float=kept))
        result = judge(made)
        count *= 2
    return made, result, kept


def _logits(graph: bytes, tiles: list[np.ndarray]) -> np.ndarray:
    session = open_session(graph)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: tile[None]})[0].ravel() for tile in tiles])
