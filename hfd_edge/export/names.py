"""Stable names: nodes and tensors of an exported graph are called after the modules that made them.

The exporter numbers them as it comes across them, so a name changes with torch's version and with a layer elsewhere. `keep_float`,
sensitivity reports, ranges and quantisation-aware training all speak of "encoder.s1.b1.conv2.conv" instead.
"""

from __future__ import annotations

import ast

import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"      # metadata of torch's exporter: the modules around a node, the outermost first
_NAMED_ALONE = ("Relu", "Clip")             # operators that are a module each; QAT speaks of their outputs by these names


def name_after_modules(model: onnx.ModelProto) -> None:
    """Rename every node, every tensor that a node makes and every constant, in place; inputs, outputs and weights keep theirs.

    A convolution is called as the module that holds its weights, Relu and Clip as the module they are, anything else as the
    module it is computed in and its operator; a second one of a name gets "#2". A constant that is no weight is called after
    its first reader. Must run before the metadata is deleted.
    """
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    taken = {*ends, *(tensor.name for tensor in model.graph.initializer)}
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        node.name = _free(_wish(node), taken)
        for number, old in enumerate(node.output):
            if old and old not in ends:
                renamed[old] = node.name if number == 0 else f"{node.name}.{number}"
    constants = {tensor.name for tensor in model.graph.initializer if "." not in tensor.name}     # a weight's has its module's
    for node in model.graph.node:
        for place, old in enumerate(node.input):
            if old in constants and old not in renamed:
                renamed[old] = f"{node.name}.input{place}"
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, old in enumerate(names):
                names[place] = renamed.get(old, old)


def _wish(node: onnx.NodeProto) -> str:
    module, operator = _module(node), node.op_type.lower()
    if node.op_type == "Conv" and node.input[1].endswith(".weight"):
        return node.input[1].removesuffix(".weight")
    if node.op_type in _NAMED_ALONE and module:
        return module
    return f"{module}.{operator}" if module else operator


def _module(node: onnx.NodeProto) -> str:
    """Path of the innermost module, "" where the exporter says nothing."""
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _free(wish: str, taken: set[str]) -> str:
    name, number = wish, 1
    while name in taken:
        number += 1
        name = f"{wish}#{number}"
    taken.add(name)
    return name
