"""Operators that not every engine here runs, written out in those that every one does: the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from hfd_edge.errors import ExportError
from hfd_edge.export.foreign_rewrite import constant, word

_POOLED = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}
_SELU = (1.6732632423543772, 1.0507009873554805)       # alpha, gamma of its definition


def in_known_operators(model: onnx.ModelProto) -> None:
    """Global pooling as a reduction over rows and columns, products as convolutions and MatMul, activations out of simpler ones.

    Raises:
        ExportError: an Einsum is no product of one axis with constant weights.
    """
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"                      # a message names what the file has
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type in _POOLED:
            _pool(model, node)
        make = _MAKERS.get(node.op_type)
        model.graph.node.extend(make(model, node) if make else [node])


def _pool(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    node.op_type = _POOLED[node.op_type]
    axes = np.array([2, 3], np.int64)
    if model.opset_import[0].version >= 18:
        node.input.append(constant(model, f"{node.name}_axes", axes))
    else:
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
    node.attribute.append(onnx.helper.make_attribute("keepdims", 1))


def _gemm(model: onnx.ModelProto, gemm: onnx.NodeProto) -> list[onnx.NodeProto]:
    """alpha A B + beta C of a constant B, as torch writes its linear layers; another Gemm is left as it is."""
    weight = _weights(model, gemm.input[1])
    if weight is None or word(gemm, "transA", 0) or word(gemm, "beta", 1.0) != 1.0:
        return [gemm]
    weight = (weight.T if word(gemm, "transB", 0) else weight) * np.float32(word(gemm, "alpha", 1.0))
    factor, bias = constant(model, f"{gemm.input[1]}_columns", weight), gemm.input[2] if len(gemm.input) > 2 else ""
    made = f"{gemm.output[0]}_product" if bias else gemm.output[0]
    product = onnx.helper.make_node("MatMul", [gemm.input[0], factor], [made], name=gemm.name)
    return [product, *([onnx.helper.make_node("Add", [made, bias], [gemm.output[0]], name=f"{gemm.name}_bias")] if bias else [])]


def _einsum(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """One axis of a tensor times constant weights: a 1 x 1 convolution where it is the second of four, else a MatMul."""
    equation = "".join(word(node, "equation", b"").decode().split())
    given, _, result = equation.partition("->")
    terms = sorted(zip(given.split(","), node.input), key=lambda term: _weights(model, term[1]) is not None)     # the weights last
    axes = _product_axes([letters for letters, _ in terms], result)
    weight = _weights(model, terms[-1][1])
    if axes is None or weight is None:
        raise ExportError(f"Einsum {node.name[:60]!a} computes {equation[:60]!a}: only one axis times constant weights, as of a linear layer over the "
                          "channels, is known to be local; write it as Conv2d, Linear or matmul")
    (image, source), (letters, _), (into, out) = terms[0], terms[1], axes
    weight = weight if letters == out + into else weight.T                  # (made, given)
    if image.index(into) == 1 and len(image) == 4 and result == image.replace(into, out):
        kernel = constant(model, f"{node.name}_kernel", weight[:, :, None, None])
        return [_node("Conv", [source, kernel], node.output[0], kernel_shape=[1, 1])]
    last, factor = image.replace(into, "") + into, constant(model, f"{node.name}_columns", weight.T)
    turned, product = f"{node.output[0]}_turned", f"{node.output[0]}_product"
    return [_node("Transpose", [source], turned, perm=[image.index(letter) for letter in last]), _node("MatMul", [turned, factor], product),
            _node("Transpose", [product], node.output[0], perm=[(last[:-1] + out).index(letter) for letter in result])]


def _product_axes(terms: list[str], result: str) -> tuple[str, str] | None:
    """(letter that is summed over, letter that it becomes) of an image and a matrix of weights; None = another product."""
    if len(terms) != 2 or len(terms[1]) != 2 or not all(each.isalpha() and len({*each}) == len(each) for each in (*terms, result)):
        return None
    image, weight = ({*term} for term in terms)
    into, out = image & weight, weight - image
    return (min(into), min(out)) if len(into) == 1 and {*result} == image - into | out else None


def _mish(_: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    source, made = node.input[0], node.output[0]
    return [_node("Softplus", [source], f"{made}_plus"), _node("Tanh", [f"{made}_plus"], f"{made}_tanh"), _node("Mul", [source, f"{made}_tanh"], made)]


def _selu(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    made = node.output[0]
    gamma = constant(model, f"{made}_gamma", np.array(word(node, "gamma", _SELU[1]), np.float32))
    return [_node("Elu", [node.input[0]], f"{made}_elu", alpha=word(node, "alpha", _SELU[0])), _node("Mul", [f"{made}_elu", gamma], made)]


def _celu(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    made, alpha = node.output[0], constant(model, f"{node.output[0]}_alpha", np.array(word(node, "alpha", 1.0), np.float32))
    return [_node("Div", [node.input[0], alpha], f"{made}_part"), _node("Elu", [f"{made}_part"], f"{made}_elu"), _node("Mul", [f"{made}_elu", alpha], made)]


def _weights(model: onnx.ModelProto, name: str) -> np.ndarray | None:
    return next((numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name), None)


def _node(op: str, inputs: list[str], made: str, **attributes) -> onnx.NodeProto:
    return onnx.helper.make_node(op, inputs, [made], name=made, **attributes)


_MAKERS = {"Gemm": _gemm, "Einsum": _einsum, "Mish": _mish, "Selu": _selu, "Celu": _celu}
