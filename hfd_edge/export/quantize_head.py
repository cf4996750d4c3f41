"""The last convolution of an INT8 graph as a product of whole numbers, without a rounding that shows.

In float it costs a dequantised copy of its input, in an order of its own. Its input is of bytes already; its weights are written as two
columns of whole numbers, the second 2 * limit times as fine, and both products go into one call: its weights are as good as 13 bits or more.
The two are added by a product with a matrix of ones and zeros, which reads and writes them once.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hfd_edge.export.quantize_layout import attributes_of, set_nodes

_NHWC, _NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def head_of(model: onnx.ModelProto) -> str:
    """Name of the last convolution before the output, "" if there is none."""
    return next((node.name for node in reversed(model.graph.node) if node.op_type == "Conv"), "")


def head_as_product(model: onnx.ModelProto, head: str, weight_bits: int) -> None:
    """A head of 1 x 1 over quantised pixels becomes a product; another one stays.

    Args:
        model: with Q/DQ, changed in place.
        head: name of the convolution.
        weight_bits: 7 or 8, as those of the other convolutions: with 8, processors without VNNI overflow.
    """
    constants = {t.name: t for t in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    conv = next((node for node in model.graph.node if node.name == head and node.op_type == "Conv"), None)
    quantised = None if conv is None else makers.get(conv.input[0])
    if conv is None or quantised is None or quantised.op_type != "DequantizeLinear" or len(quantised.input) != 3 or not _plain(conv, constants):
        return
    scale, zero = (numpy_helper.to_array(constants[name]).reshape(-1) for name in quantised.input[1:])
    if (scale != scale[0]).any() or (zero != zero[0]).any():
        return
    weights = numpy_helper.to_array(constants[conv.input[1]])[:, :, 0, 0].T
    whole, steps = _two_columns(weights, 63 if weight_bits == 7 else 127)
    classes, at = weights.shape[1], f"{head}/product"
    arrays = {"scale": scale[0], "zero": zero[0], "weights": whole, "steps": steps, "none": np.zeros(2 * classes, np.int8),
              "pairs": np.tile(np.eye(classes, dtype=np.float32), (2, 1)), "bias": _bias(conv, constants, classes)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), f"{at}/{name}") for name, value in arrays.items())
    made = [helper.make_node("Transpose", [quantised.input[0]], [f"{at}/pixels"], perm=_NHWC),
            helper.make_node("DequantizeLinear", [f"{at}/pixels", f"{at}/scale", f"{at}/zero"], [f"{at}/values"]),
            helper.make_node("DequantizeLinear", [f"{at}/weights", f"{at}/steps", f"{at}/none"], [f"{at}/columns"], axis=1),
            helper.make_node("MatMul", [f"{at}/values", f"{at}/columns"], [f"{at}/parts"]),
            helper.make_node("MatMul", [f"{at}/parts", f"{at}/pairs"], [f"{at}/sums"]),
            helper.make_node("Transpose", [f"{at}/sums"], [f"{at}/logits"], perm=_NCHW),
            helper.make_node("Add", [f"{at}/logits", f"{at}/bias"], [conv.output[0]])]
    result = conv.output[0]
    set_nodes(model, [each for node in model.graph.node for each in (made if [*node.output] == [result] else [node])])


def _plain(conv: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether it is 1 x 1 over all channels at every pixel, with weights that are there as float."""
    given, weights = attributes_of(conv), constants.get(conv.input[1])
    if weights is None or weights.data_type != onnx.TensorProto.FLOAT or [*weights.dims[2:]] != [1, 1] or given.get("group", 1) != 1:
        return False
    return (set(given.get("strides", [1])) == {1} and not any(given.get("pads", [0])) and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
            and all(name in constants for name in conv.input[2:]))


def _two_columns(weights: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(channels, 2 * classes) int8 and the step of each column (2 * classes,) float32, whose products add up to `weights`."""
    step = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny) / limit
    coarse = np.rint(weights / step)
    fine = np.rint((weights / step - coarse) * 2 * limit)
    return np.concatenate([coarse, fine], axis=1).astype(np.int8), np.concatenate([step, step / (2 * limit)]).astype(np.float32)


def _bias(conv: onnx.NodeProto, constants: dict[str, onnx.TensorProto], classes: int) -> np.ndarray:
    own = numpy_helper.to_array(constants[conv.input[2]]) if len(conv.input) > 2 and conv.input[2] else np.zeros(classes, np.float32)
    return own.reshape(classes, 1, 1)
