"""Which convolutions suffer most from INT8, and which to keep in float so that a graph passes its gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration import Ranges
from hfd_edge.export.parity import GateResult, open_session
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_options import Int8Options, quantisable

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


@dataclass(frozen=True, slots=True)
class Int8Made:
    """The INT8 graph with as few convolutions in float as its gate allows."""

    graph: bytes
    result: GateResult          # where nothing passed, that of the last graph tried, with its failures
    kept: tuple[str, ...]       # names kept in float


def int8_that_passes(make: Callable[[tuple[str, ...]], bytes], judge: Callable[[bytes], GateResult],
                     ranking: Callable[[], dict[str, float]], kept: tuple[str, ...] = ()) -> Int8Made:
    """Quantise everything; where the gate refuses that, keep 1, 2, 4, ... of the most sensitive convolutions in float.

    Args:
        make: the INT8 graph with the convolutions of these names in float.
        judge: the gate, from a graph to its result.
        ranking: `sensitivity` of the network; asked for only where the gate refuses.
        kept: what stays in float in any case.
    Raises:
        ExportError: the gate refuses, and the graph has no convolution that could be kept in float.
    """
    made, always, count = make(kept), kept, 1
    result = judge(made)
    search = not result.passed
    others = [name for name in ranking() if name not in always] if search else []
    if search and not others:
        raise ExportError("the graph has no convolution that could be kept in float: INT8 is not for this network")
    while search and not result.passed and count <= max(1, int(MOST_KEPT * len(others))):
        kept = (*always, *others[:count])
        made = make(kept)
        result = judge(made)
        count *= 2
    return Int8Made(made, result, kept)


def _logits(graph: bytes, tiles: list[np.ndarray]) -> np.ndarray:
    session = open_session(graph)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: tile[None]})[0].ravel() for tile in tiles])
