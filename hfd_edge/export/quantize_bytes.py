"""Two passes over a graph with Q/DQ: what can move bytes moves bytes, and what a Concat joins is rounded once.

ONNX Runtime's quantiser leaves both to the engine, which takes bytes through neither a Pad nor the Slices behind it, and rounds what
it joins a second time.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hfd_edge.export.quantize_layout import attributes_of, set_nodes

_MOVES = ("Pad", "Slice")


def carry_bytes(model: onnx.ModelProto) -> None:
    """Let Pad and Slice move bytes: a dequantisation of one scale steps behind them.

    The products of shifted pixels in a `local` alignment stand between dequantisations and a quantisation then, and become products of
    bytes: the same bits, but where one falls halfway between two bytes.

    Args:
        model: with Q/DQ, changed in place, its nodes in the order of their use.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers: dict[str, onnx.NodeProto] = {}
    nodes = []
    for node in model.graph.node:
        before = makers.get(node.input[0]) if node.op_type in _MOVES else None
        if before is not None and _one_step(before, constants) and _pads_with_zero(node, constants):
            given, (scale, zero) = node.output[0], before.input[1:]
            node.input[0], node.output[0] = before.input[0], f"{given}/bytes"
            if node.op_type == "Pad" and _mode(node) == b"constant":
                node.input[2:3] = [zero]
            nodes += [node, helper.make_node("DequantizeLinear", [node.output[0], scale, zero], [given], name=given)]
        else:
            nodes.append(node)
        makers.update(dict.fromkeys(nodes[-1].output, nodes[-1]))
    set_nodes(model, nodes)


def round_once(model: onnx.ModelProto) -> None:
    """Quantise what a quantised Concat alone reads by the Concat's own step: rounded to a step of its own first, it was rounded twice.

    Args:
        model: with Q/DQ, changed in place.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        after = readers.get(node.output[0], [])
        if node.op_type != "Concat" or [each.op_type for each in after] != ["QuantizeLinear"]:
            continue
        for name in node.input:
            back = makers.get(name)
            there = None if back is None or back.op_type != "DequantizeLinear" else makers.get(back.input[0])
            if there is not None and there.op_type == "QuantizeLinear" and len(readers[name]) == len(readers[there.output[0]]) == 1:
                there.input[1:], back.input[1:] = after[0].input[1:], after[0].input[1:]


def _one_step(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    return node.op_type == "DequantizeLinear" and len(node.input) == 3 and constants[node.input[1]].size == 1


def _pads_with_zero(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether a Pad puts only zeros, or pixels, at the sides: zero has a byte of its own."""
    value = node.input[2] if node.op_type == "Pad" and _mode(node) == b"constant" and len(node.input) > 2 else ""
    return not value or (value in constants and not constants[value].any())


def _mode(node: onnx.NodeProto) -> bytes:
    return attributes_of(node).get("mode", b"constant")
