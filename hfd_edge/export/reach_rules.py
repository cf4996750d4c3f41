"""What each ONNX operator reads, as cells of its input per cell of its output."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from hfd_edge.export import reach_layout as layout
from hfd_edge.export.reach_axis import Axis, Field, cubic_cells, linear_cells
from hfd_edge.export.reach_node import Node

_CIRCULAR = " (the older exporter writes padding_mode='circular' so: export with dynamo=True)"
_WHY = {"Reshape": "it takes rows or columns apart or joins them otherwise than by whole blocks, as attention over windows or the image does",
        "GatherND": "it picks cells by a table of places, as interpolate(mode='nearest-exact') is written; mode='nearest' is the same for whole factors"}
ELEMENTWISE = frozenset("""
    Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Elu Softplus Erf Add Sub Mul Div Neg Abs Floor Ceil Round Sign
    Exp Log Sqrt Reciprocal Pow Min Max Sum Mean Mod Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Identity Cast
    BatchNormalization Dropout QuantizeLinear DequantizeLinear""".split())
GLOBAL = frozenset("""GlobalAveragePool GlobalMaxPool GlobalLpPool InstanceNormalization GroupNormalization Gemm Einsum
    LpNormalization MeanVarianceNormalization NonZero TopK CumSum LSTM GRU RNN""".split())


def apply_rule(node: Node) -> Field:
    """The field of a node's outputs.

    Raises:
        ReachError: the operator joins positions without bound, or is not known here.
    """
    op = node.op_type
    if op in ELEMENTWISE:
        return layout.join(node)
    if op in GLOBAL:
        node.refuse("it joins all positions of the image")
    rule = _RULES.get(op)
    return rule(node) if rule else node.refuse(_WHY.get(op, "this operator has no rule"))


def _both(node: Node, read: Any) -> Field:
    field = node.as_image(node.only)
    return Field(read(field.rows, 0), read(field.cols, 1))


def _window(node: Node) -> Field:
    """Conv and pooling: cell i reads i * stride - pad + 0 .. (kernel - 1) * dilation."""
    kernel = node.ints("kernel_shape", node.constants[node.inputs[1]].shape[2:] if len(node.inputs) > 1 else ())
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    pads = _pads(node)
    if len(kernel) != 2:
        node.refuse(f"kernel {kernel} is not two-dimensional")

    def read(axis: Axis, k: int) -> Axis:
        return axis.read(axis.stride * strides[k], lambda i: (i * strides[k] - pads[k],
                                                              i * strides[k] - pads[k] + (kernel[k] - 1) * dilations[k]))
    return _both(node, read)


def _transposed(node: Node) -> Field:
    """ConvTranspose: cell i receives from cells j with i = j * stride - pad + 0 .. (kernel - 1) * dilation."""
    kernel = node.ints("kernel_shape", node.constants[node.inputs[1]].shape[2:])
    strides, dilations = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    pads = _pads(node)
    if "output_shape" in node.attributes:
        node.refuse("output_shape makes its padding depend on the size of the tile")

    def read(axis: Axis, k: int) -> Axis:
        span = (kernel[k] - 1) * dilations[k]

        def cells(i: int) -> tuple[int, int]:
            first, last = -(-(i + pads[k] - span) // strides[k]), (i + pads[k]) // strides[k]
            return (first, last) if first <= last else (last, last)      # a kernel shorter than its stride leaves gaps
        return axis.read(axis.stride / strides[k], cells)
    return _both(node, read)


def _pads(node: Node) -> tuple[int, ...]:
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID", b""):
        node.refuse(f"auto_pad {auto.decode()} depends on the size of the tile")
    return (0, 0, 0, 0) if auto == b"VALID" else node.ints("pads", (0, 0, 0, 0))


def _resize(node: Node) -> Field:
    scales = node.constant(2)
    mode, where = node.attributes.get("mode", b"nearest"), node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if scales is None or len(scales) != 4 or tuple(scales[:2]) != (1, 1) or node.attributes.get("antialias", 0):
        node.refuse("its scales must be four constants, 1 for batch and channels, without antialiasing")
    if (mode, where) not in ((b"linear", b"half_pixel"), (b"cubic", b"half_pixel"), (b"nearest", b"asymmetric")):
        node.refuse(f"mode {mode.decode()} with {where.decode()} coordinates is not linear or cubic half_pixel, nor nearest asymmetric")
    if mode == b"nearest" and node.attributes.get("nearest_mode", b"round_prefer_floor") != b"floor":
        node.refuse("nearest resizing must round down")

    def read(axis: Axis, k: int) -> Axis:
        scale = Fraction(float(scales[2 + k]))
        if mode == b"linear":
            return axis.read(axis.stride / scale, lambda i: linear_cells(i, scale))
        if mode == b"cubic":
            return axis.read(axis.stride / scale, lambda i: cubic_cells(i, scale))
        return axis.read(axis.stride / scale, lambda i: (math.floor(i / scale),) * 2)
    return _both(node, read)


def _slice(node: Node) -> Field:
    starts, axes = node.constant(1), node.constant(3)
    steps = node.constant(4)
    axes = range(len(starts)) if axes is None else axes
    by_axis = {int(a): (int(s), 1 if steps is None else int(steps[i])) for i, (a, s) in enumerate(zip(axes, starts))}
    if any(a < 0 for a in by_axis) or any(a > 1 and (start < 0 or step < 1) for a, (start, step) in by_axis.items()):
        node.refuse(f"it counts from the end of the tile, or backwards{_CIRCULAR}")
    ends = node.constants.get(node.inputs[2])
    if ends is not None and any(a > 1 and 0 <= end <= by_axis[int(a)][0] + by_axis[int(a)][1] for a, end in zip(axes, ends)):
        node.refuse(f"it picks one row or column of the tile, which another tile has elsewhere{_CIRCULAR}")

    def read(axis: Axis, k: int) -> Axis:
        start, step = by_axis.get(2 + k, (0, 1))
        return axis.read(axis.stride * step, lambda i: (start + i * step,) * 2)
    return _both(node, read)


def _pad(node: Node) -> Field:
    pads = node.constant(1)
    if len(node.inputs) > 3 and node.inputs[3] or pads is None or len(pads) != 8:
        node.refuse("it must pad all four axes by constants")
    return _both(node, lambda axis, k: axis.read(axis.stride, lambda i: (i - int(pads[2 + k]),) * 2))


def _blocks(node: Node) -> Field:
    size = node.attributes["blocksize"]
    if node.op_type == "DepthToSpace":
        return _both(node, lambda axis, k: axis.read(axis.stride / size, lambda i: (i // size,) * 2))
    return _both(node, lambda axis, k: axis.read(axis.stride * size, lambda i: (i * size, i * size + size - 1)))


_RULES = {"Conv": _window, "MaxPool": _window, "AveragePool": _window, "LpPool": _window, "ConvTranspose": _transposed,
          "Resize": _resize, "Slice": _slice, "Pad": _pad, "DepthToSpace": _blocks, "SpaceToDepth": _blocks,
          **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax"), layout.pointwise),
          **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), layout.reduced),
          "LayerNormalization": layout.normalised, "MatMul": layout.product, "Transpose": layout.transposed_axes,
          "Squeeze": layout.squeezed, "Unsqueeze": layout.unsqueezed, "Gather": layout.gathered}
