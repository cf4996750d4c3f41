"""The flow behind each GridSample of an ONNX graph: which tensor it is and how far it can point."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import onnx

from hfd_edge.errors import ReachError

_BETWEEN = frozenset("Gather Add Sub Mul Div Unsqueeze Squeeze Concat Transpose Cast Identity".split())   # flow -> grid
_SIZES = frozenset("Shape Range Cast Add Sub Mul Div Unsqueeze Squeeze Constant Gather Concat Identity Reshape".split())


@dataclass(frozen=True, slots=True)
class Flow:
    tensor: str                 # output of the Clip
    limit_cells: Fraction       # largest absolute value, in source cells


@dataclass(frozen=True, slots=True)
class FlowNodes:
    of: dict[str, Flow] = field(default_factory=dict)       # by name of the GridSample node
    inside: set[str] = field(default_factory=set)           # names of the nodes that turn flows into grids


def find_flow(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> FlowNodes:
    """Walk back from every GridSample's grid to the one Clip that bounds it.

    The grid is taken to be the half-pixel identity plus the clipped flow in source cells times 2 / size, which is how
    HFDNet writes it; `measured_reach` runs at export and would show any other use.

    Raises:
        ReachError: a grid depends on pixels otherwise than through one Clip with finite constant limits.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    found, image = FlowNodes(), model.graph.input[0].name
    for node in model.graph.node:
        if node.op_type == "GridSample":
            clips, between = _back_to_clips(node, makers, image)
            if len(clips) != 1:
                raise ReachError(f"GridSample {node.name!r} has {len(clips)} Clip nodes before its grid: one must bound its "
                                 "flow; clamp the flow before it is added to the sampling positions")
            found.of[node.name] = Flow(clips[0].output[0], _limit(clips[0], constants))
            found.inside.update(between)
    return found


def _back_to_clips(sampler: onnx.NodeProto, makers: dict[str, onnx.NodeProto], image: str) -> tuple[list, set[str]]:
    clips, between, seen, open_tensors = {}, set(), set(), [sampler.input[1]]
    while open_tensors:
        tensor = open_tensors.pop()
        node = makers.get(tensor)
        if tensor == image:
            raise ReachError(f"the grid of GridSample {sampler.name!r} comes from {image} without a Clip: its reach is unbounded; clamp the flow")
        if node is None or tensor in seen or node.op_type == "Shape":
            continue                                        # a constant, known, or a size of the tile
        seen.add(tensor)
        if node.op_type == "Clip":
            clips[node.output[0]] = node
        elif node.op_type in _BETWEEN or (node.op_type in _SIZES and _free_of_pixels(node, makers, image)):
            if not _free_of_pixels(node, makers, image):
                between.add(node.name)
            open_tensors += node.input
        else:
            raise ReachError(f"the grid of GridSample {sampler.name!r} passes through {node.op_type} {node.name!r} after its "
                             "last Clip: its reach is not bounded; clamp the flow last")
    return list(clips.values()), between


def _free_of_pixels(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], image: str) -> bool:
    open_nodes, seen = [node], set()
    while open_nodes:
        node = open_nodes.pop()
        if node.op_type == "Shape" or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        for tensor in node.input:
            if tensor == image or tensor in makers and makers[tensor].op_type not in _SIZES:
                return False
            if tensor in makers:
                open_nodes.append(makers[tensor])
    return True


def _limit(clip: onnx.NodeProto, constants: dict[str, np.ndarray]) -> Fraction:
    ends = [float(constants[name]) if name in constants else math.inf for name in clip.input[1:3]]
    if len(ends) < 2 or not all(math.isfinite(v) for v in ends):
        raise ReachError(f"Clip {clip.name!r} before a GridSample has limits {ends}: both must be finite constants; clamp the flow")
    return Fraction(max(abs(v) for v in ends))
