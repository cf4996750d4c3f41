"""Chains of Reshape and Transpose that only move channels, or trade channels against rows and columns, as the operators made for it.

ChannelShuffle (ShuffleNet) becomes a Gather of channels, PixelUnshuffle a SpaceToDepth, PixelShuffle written out a DepthToSpace: they hold
no size of the image, and their reach is known. What mixes positions otherwise, as attention over windows does, stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from hfd_edge.export.foreign_rewrite import Shapes, constant, word

_RESHAPES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
_MOVES = _RESHAPES | {"Transpose", "Identity"}


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of an axis of the image: as many steps as `size`, each of `step` channels, rows or columns of that axis."""

    axis: int
    size: int
    step: int

    def split(self, inner: int) -> tuple[_Part, _Part]:
        return _Part(self.axis, self.size // inner, self.step * inner), _Part(self.axis, inner, self.step)


_Axes = list[list[_Part]]       # of each axis of a tensor the parts that it runs through, the slowest first


@dataclass(frozen=True, slots=True)
class _Blocks:
    """SpaceToDepth by `fold`, channels in another order, DepthToSpace by `unfold`; 1 = none."""

    fold: int
    order: tuple[int, ...]
    unfold: int

    @property
    def moves_channels(self) -> bool:
        return self.order != (*range(len(self.order)),)


def move_by_blocks(model: onnx.ModelProto, runs: list[Shapes]) -> int:
    """Rewrite every such chain in place; gives how many.

    Args:
        runs: shape of every tensor in runs over images of different sizes; a chain must be the same move in all of them.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    needed, kept, changed = {model.graph.output[0].name}, [], 0
    for node in reversed(model.graph.node):
        if not needed.intersection(node.output):
            continue
        found = _found(node, makers, runs)
        made = [node] if found is None else _made(model, found, node.output[0])
        changed += found is not None
        needed.update(name for each in made for name in each.input)
        kept += made[::-1]
    del model.graph.node[:]
    model.graph.node.extend(kept[::-1])
    return changed


def _found(last: onnx.NodeProto, makers: dict[str, onnx.NodeProto], runs: list[Shapes]) -> tuple[str, _Blocks] | None:
    """(tensor where the longest such chain that ends at a node begins, what it does)."""
    best = None
    for chain in _chains(last, makers):
        start = chain[0].input[0]
        if any(node.op_type in _RESHAPES for node in chain) and all(len(run.get(start, ())) == 4 for run in runs):
            moves = {_move(chain, run) for run in runs}
            if len(moves) == 1 and (move := moves.pop()) is not None:
                best = start, move
    return best


def _chains(last: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> Iterator[list[onnx.NodeProto]]:
    chain: list[onnx.NodeProto] = []
    node: onnx.NodeProto | None = last
    while node is not None and node.op_type in _MOVES:
        chain = [node, *chain]
        yield chain
        node = makers.get(node.input[0])


def _move(chain: list[onnx.NodeProto], run: Shapes) -> _Blocks | None:
    """What a chain does to an image (1, channels, rows, cols) in a run; None = something else."""
    image, result = run[chain[0].input[0]], run.get(chain[-1].output[0], ())
    if len(result) != 4 or image[0] != 1 or result[0] != 1 or 0 in image:
        return None
    axes: _Axes = [[_Part(axis, size, 1)] for axis, size in enumerate(image)]
    for node in chain:
        if node.op_type == "Transpose":
            axes = [axes[axis] for axis in word(node, "perm", range(len(axes))[::-1])]
        elif node.op_type in _RESHAPES and (axes := _reshaped(axes, run.get(node.output[0], ()))) is None:
            return None
    return _blocks([_merged(axis) for axis in axes], image)


def _reshaped(axes: _Axes, shape: tuple[int, ...]) -> _Axes | None:
    """The parts dealt out to the axes of a new shape; None where an axis does not end between two parts."""
    left = [part for axis in axes for part in axis if part.size > 1]
    made: _Axes = []
    for size in shape:
        axis: list[_Part] = []
        while size > 1 and left:
            part = left.pop(0)
            common = math.gcd(part.size, size)
            if common < part.size:
                if common != size:
                    return None
                part, rest = part.split(part.size // size)
                left.insert(0, rest)
            axis.append(part)
            size //= part.size
        if size != 1:
            return None
        made.append(axis)
    return None if left else made


def _merged(axis: list[_Part]) -> list[_Part]:
    """Neighbours that run on from each other become one part."""
    made: list[_Part] = []
    for part in axis:
        if made and made[-1].axis == part.axis and made[-1].step == part.size * part.step:
            part = _Part(part.axis, made.pop().size * part.size, part.step)
        made.append(part)
    return made


def _blocks(axes: _Axes, image: tuple[int, ...]) -> _Blocks | None:
    _, channels, *sides = image
    inner, fold = [], set()
    for axis, side in zip((2, 3), sides):
        outer, *rest = axes[axis] or [_Part(axis, 1, 1)]
        if outer.axis != axis or outer.size * outer.step != side:
            return None
        fold.add(outer.step)
        inner.append(rest)
    unfold = {math.prod(part.size for part in rest) for rest in inner}
    if len(fold) != 1 or len(unfold) != 1:
        return None
    (block,), (unblock,) = fold, unfold
    # SpaceToDepth numbers its channels by row in the block, column in the block, channel; DepthToSpace reads them in the same order
    weights = {1: 1, 2: block * channels, 3: channels}
    order = np.zeros(1, np.int64)
    for part in (*inner[0], *inner[1], *axes[1]):
        if part.axis not in weights or part.axis > 1 and part.size * part.step > block:
            return None
        order = (order[:, None] + np.arange(part.size) * part.step * weights[part.axis]).ravel()
    if not np.array_equal(np.sort(order), np.arange(channels * block * block)):
        return None
    return _Blocks(block, tuple(order.tolist()), unblock)


def _made(model: onnx.ModelProto, found: tuple[str, _Blocks], result: str) -> list[onnx.NodeProto]:
    """The nodes of a move, from the tensor where its chain began to its result."""
    start, move = found
    steps = [("SpaceToDepth", (), {"blocksize": move.fold})] if move.fold > 1 else []
    by_channel = np.array(move.order).reshape(move.unfold, move.unfold, -1)
    if move.unfold > 1 and np.array_equal(by_channel.transpose(2, 0, 1).ravel(), np.arange(len(move.order))):
        steps.append(("DepthToSpace", (), {"blocksize": move.unfold, "mode": "CRD"}))
    else:
        if move.moves_channels:
            steps.append(("Gather", (constant(model, f"{result}_order", np.array(move.order)),), {"axis": 1}))
        if move.unfold > 1:
            steps.append(("DepthToSpace", (), {"blocksize": move.unfold}))
    nodes, tensor = [], start
    for number, (op, inputs, attributes) in enumerate(steps or [("Identity", (), {})]):
        made = f"{result}_{op}_{number}" if number < len(steps) - 1 else result
        nodes.append(onnx.helper.make_node(op, [tensor, *inputs], [made], name=made, **attributes))
        tensor = made
    return nodes
