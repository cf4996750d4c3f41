"""Ranges that quantisation-aware training learnt: they stand in the checkpoint's sidecar and replace the calibrated ones.

`python -m training qat` writes provenance.qat: the largest value after each ReLU, by the ReLU's name in the network, which is the
name of its output in the exported graph (hfd_edge/export/names.py). The network learnt to live on exactly this grid. What no ReLU
makes (the input, sums before a ReLU, what is resized) still comes from calibration. A range that followed small crops may cut
what whole scenes reach; so both sets are tried on the calibration tiles, and the one with fewer label flips is taken and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration import Ranges
from hfd_edge.export.session import open_session

KEY = "qat"                     # in the sidecar's provenance
ACTIVATION_BITS = 8             # of every INT8 graph here
FAR_BEYOND = 1.5                # calibration saw this many times the trained range: said in the report
_AGAIN = "train again with python -m training qat, or take provenance.qat out of the sidecar to calibrate all ranges"


@dataclass(frozen=True, slots=True)
class TrainedRanges:
    """What a checkpoint says of its quantisation-aware training."""

    largest: dict[str, float]   # name of the ReLU -> upper end of its range; the lower end is 0
    weight_bits: int

    def onto(self, ranges: Ranges, graph: bytes) -> Ranges:
        """Calibrated ranges with the trained ones in their places.

        Args:
            ranges: of `graph`, from `calibrate`.
            graph: the float graph of the same checkpoint.
        Raises:
            ExportError: a trained range names no ReLU of the graph, or a ReLU of the graph has none.
        """
        named = _rectified(graph)
        used = {name for name, top in self.largest.items() if top > 0}         # a ReLU that never ran is in no graph
        if strange := sorted(used - {name.partition("#")[0] for name in named}):
            raise ExportError(f"provenance.qat.activation_max names {strange[0]!r}, which is no ReLU of the exported graph: the "
                              f"ranges belong to another network; {_AGAIN}")
        missing = [name for name in named if name.partition("#")[0] not in self.largest]
        if missing:
            raise ExportError(f"provenance.qat.activation_max has no range for the ReLU {missing[0]!r} of the exported graph, as "
                              f"for {len(missing)} of {len(named)}: the ranges belong to another network; {_AGAIN}")
        learnt = {name: self.largest[name.partition("#")[0]] for name in named}
        taken = {name: (0.0, top) for name, top in learnt.items() if top > 0}     # 0: silent in training, calibration knows more
        return replace(ranges, tensors={**ranges.tensors, **taken}, trained=tuple(sorted(taken)))

    def notes(self, calibrated: Ranges, weight_bits: int) -> tuple[str, ...]:
        """What the report says where they are taken, given the ranges that calibration alone would have taken."""
        beyond = {name: calibrated.tensors[name][1] / top for name, top in self.largest.items()
                  if top > 0 and name in calibrated.tensors and calibrated.tensors[name][1] > FAR_BEYOND * top}
        lines = [f"{len(self.largest)} activation ranges are those of quantisation-aware training, the others calibrated"]
        if beyond:
            worst = max(beyond, key=lambda name: beyond[name])
            lines.append(f"the scenes reach beyond {len(beyond)} of the trained ranges ({worst}: {beyond[worst]:.1f} times): they are "
                         "cut there, as in training; the scenes differ from those of the training")
        if self.weight_bits != weight_bits:
            lines.append(f"trained for weights of {self.weight_bits} bits, the CPU graph has {weight_bits}: qat.weight_bits="
                         f"{weight_bits} trains for it")
        return tuple(lines)


def chosen_ranges(graph: bytes, pair: tuple[Ranges, TrainedRanges], make: Callable[[bytes, Ranges], bytes],
                  tiles: list[np.ndarray], weight_bits: int) -> tuple[Ranges, tuple[str, ...]]:
    """Trained ranges, with weights rounded by what is read or as in training, or calibrated ones: whichever flip fewest labels on the
    calibration tiles; the judged scenes are not asked.

    Args:
        graph: the float graph.
        pair: calibrated ranges of it, and the trained ones.
        make: the INT8 graph of some ranges.
        tiles: (bands, rows, cols) float32, calibration tiles.
    Returns:
        the ranges, and what the report says of the choice.
    Raises:
        ExportError: the trained ranges do not fit the graph.
    """
    calibrated, trained = pair
    learnt = trained.onto(calibrated, graph)
    tried = {"the ranges of quantisation-aware training": learnt, "these and weights rounded to the nearest, as in training": replace(learnt, reads={}),
             "calibrated ranges": calibrated}
    flips = {name: _flips(graph, make(graph, ranges), tiles) for name, ranges in tried.items()}
    taken = min(flips, key=lambda name: flips[name])            # of equals the first
    told = f"labels of the calibration tiles that flip: {', '.join(f'{share:.3%} with {name}' for name, share in flips.items())}"
    if tried[taken] is calibrated:
        return calibrated, (f"{told}: the calibrated ones are taken (the trained weights stay)",)
    how = ", with weights rounded to the nearest" if not tried[taken].reads else ""
    return tried[taken], (f"{told}: the trained ones are taken{how}", *trained.notes(calibrated, weight_bits))


def trained_ranges(provenance: Mapping[str, Any]) -> TrainedRanges | None:
    """The trained ranges in a checkpoint's provenance; None if it had no quantisation-aware training.

    Raises:
        ExportError: the record is damaged, or was trained for other than 8-bit activations.
    """
    record = provenance.get(KEY)
    if record is None:
        return None
    try:
        largest = {str(name): float(top) for name, top in record["activation_max"].items()}
        bits, weight_bits = int(record["activation_bits"]), int(record["weight_bits"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(f"provenance.qat of the checkpoint cannot be read ({type(error).__name__}: {error}): it holds "
                          f"activation_max by name, activation_bits and weight_bits; {_AGAIN}") from error
    if bits != ACTIVATION_BITS:
        raise ExportError(f"provenance.qat.activation_bits={bits}: the INT8 graphs have {ACTIVATION_BITS}, so this network learnt "
                          f"another grid; {_AGAIN}")
    bad = next((name for name, top in largest.items() if not (math.isfinite(top) and top >= 0)), None)
    if bad is not None or not any(largest.values()):
        where = "nothing above 0" if bad is None else f"{largest[bad]} for {bad!r}"
        raise ExportError(f"provenance.qat.activation_max holds {where}: a ReLU's range is finite and not negative; {_AGAIN}")
    return TrainedRanges(largest, weight_bits)


def _flips(graph: bytes, made: bytes, tiles: list[np.ndarray]) -> float:
    """Share of the logit positions whose best class differs."""
    sessions = [open_session(data) for data in (graph, made)]
    counts = []
    for tile in tiles:
        first, second = (session.run(None, {session.get_inputs()[0].name: tile[None]})[0].argmax(axis=1) for session in sessions)
        counts.append(((first != second).sum(), first.size))
    different, all_of_them = np.sum(counts, axis=0)
    return float(different / all_of_them)


def _rectified(graph: bytes) -> list[str]:
    """Outputs of the graph's ReLU and ReLU6, in their order; a Clip that is not cut at 0 is none."""
    model = onnx.load_from_string(graph)
    zeros = {t.name for t in model.graph.initializer if not onnx.numpy_helper.to_array(t).any()}
    return [node.output[0] for node in model.graph.node
            if node.op_type == "Relu" or (node.op_type == "Clip" and len(node.input) > 1 and node.input[1] in zeros)]
