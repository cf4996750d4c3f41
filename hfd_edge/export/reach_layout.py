"""Operators that read one position at a time, wherever the tensor has its channels: (batch, channels, rows, cols), channels last, ..."""

from __future__ import annotations

from dataclasses import replace

from hfd_edge.export.reach_axis import CHANNELS, COLS, ROWS, Field
from hfd_edge.export.reach_node import Node

PER_CHANNEL = frozenset(("BatchNormalization", "QuantizeLinear", "DequantizeLinear"))       # their vectors run over channels


def join(node: Node) -> Field:
    """Element by element: shapes are aligned at their last axes, and constants are the same at every position."""
    fields = sorted(node.dynamic, key=lambda field: len(field.layout))
    layout = fields[-1].layout
    if node.op_type in PER_CHANNEL and (len(layout) < 2 or layout[1] in (ROWS, COLS)):
        node.refuse("its channels are not the second axis")
    if node.op_type == "BatchNormalization" and node.attributes.get("training_mode", 0):
        node.refuse("it is in training mode and takes mean and spread of the whole image: call net.eval() before the export")
    for name in node.inputs:
        constant = node.constants.get(name)
        if constant is None or node.op_type in PER_CHANNEL:
            continue
        if constant.ndim > len(layout) or any(size > 1 and axis in (ROWS, COLS) for size, axis in zip(constant.shape[::-1], layout[::-1])):
            node.refuse(f"its constant {name} of shape {constant.shape} varies over the image")
    joined = fields[-1]
    for field in fields[:-1]:
        if _places(field.layout) != _places(layout):
            node.refuse("it joins tensors whose rows and columns are not on the same axes")
        joined = joined.joined(field)
    return joined


def pointwise(node: Node) -> Field:
    """Softmax, Concat, Split: along one axis, which must not be rows or columns."""
    field = join(node)
    if any(other.layout != field.layout for other in node.dynamic):
        node.refuse("its inputs have their channels on different axes")
    _not_over_the_image(node, field.layout, (node.attributes.get("axis", 0 if node.op_type == "Split" else -1),))
    return field


def normalised(node: Node) -> Field:
    """LayerNormalization: over its axis and all behind it."""
    field = node.only
    first = node.attributes.get("axis", -1) % len(field.layout)
    _not_over_the_image(node, field.layout, range(first, len(field.layout)))
    return field


def reduced(node: Node) -> Field:
    field, axes = node.only, node.constant(1) if len(node.inputs) > 1 else node.attributes.get("axes")
    if axes is None:
        node.refuse("it reduces all axes: it joins all positions of the image")
    _not_over_the_image(node, field.layout, axes)
    return field if node.attributes.get("keepdims", 1) else _without(field, axes)


def product(node: Node) -> Field:
    """MatMul by a constant matrix: over the last axis alone."""
    weight = node.constants.get(node.inputs[1])
    field = node.fields.get(node.inputs[0])
    if field is None or weight is None or weight.ndim != 2 or field.layout[-1] in (ROWS, COLS):
        node.refuse("it joins all positions of the image, or its factor is not a constant matrix over the channels")
    return field


def transposed_axes(node: Node) -> Field:
    field = node.only
    order = node.attributes.get("perm", range(len(field.layout))[::-1])
    return replace(field, layout="".join(field.layout[axis] for axis in order))


def squeezed(node: Node) -> Field:
    field, axes = node.only, node.constant(1)
    if axes is None:
        node.refuse("it leaves out every axis of length one, whichever those are")
    _not_over_the_image(node, field.layout, axes)
    return _without(field, axes)


def unsqueezed(node: Node) -> Field:
    field, axes = node.only, node.constant(1)
    rank = len(field.layout) + len(axes)
    added, left = {int(axis) % rank for axis in axes}, iter(field.layout)
    return replace(field, layout="".join(CHANNELS if axis in added else next(left) for axis in range(rank)))


def gathered(node: Node) -> Field:
    """Gather by constant indices: bands or channels, picked or put in another order."""
    field, indices = node.only, node.constant(1)
    axis = node.attributes.get("axis", 0) % len(field.layout)
    _not_over_the_image(node, field.layout, (axis,))
    return replace(field, layout=field.layout[:axis] + CHANNELS * indices.ndim + field.layout[axis + 1:])


def _places(layout: str) -> tuple[int, int]:
    return len(layout) - layout.index(ROWS), len(layout) - layout.index(COLS)


def _without(field: Field, axes) -> Field:
    gone = {int(axis) % len(field.layout) for axis in axes}
    return replace(field, layout="".join(name for axis, name in enumerate(field.layout) if axis not in gone))


def _not_over_the_image(node: Node, layout: str, axes) -> None:
    axes = [int(axis) for axis in axes]
    if any(layout[axis % len(layout)] in (ROWS, COLS) for axis in axes):
        node.refuse(f"it runs over axes {axes}, rows or columns among them: it joins all positions of the image")
