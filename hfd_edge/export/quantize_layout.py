"""Float rewrites after which ONNX Runtime's int8 convolutions run at full speed; the graph's numbers stay the same.

Its fast int8 kernel (no im2col) takes dense convolutions whose input channels are a multiple of four. A stem over one to three
bands and a convolution in groups of eight channels are neither: they run slower in int8 than in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

STEM_BANDS = 4          # a stem over more bands than this is left as it is
CHUNK_CHANNELS = 56     # grouped convolutions of more channels are cut into dense ones of about this many


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attribute values by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def stem_in_cells(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]]) -> None:
    """A first convolution of stride 2 becomes SpaceToDepth and a convolution of stride 1 over half as many rows and columns.

    Args:
        model: changed in place; sides of the input are even.
        ranges: of its tensors; that of the new tensor is added.
    """
    constants = {t.name: t for t in model.graph.initializer}
    image = model.graph.input[0].name
    users = [node for node in model.graph.node if image in node.input]
    if len(users) != 1 or users[0].op_type != "Conv" or not own_constants(model, users[0].input[1:2], constants):
        return
    stem = users[0]
    given, weights = attributes_of(stem), numpy_helper.to_array(constants[stem.input[1]])
    side, pads = weights.shape[2], list(given.get("pads", [0] * 4))
    plain = (weights.shape[3] == side and list(given.get("strides", [1, 1])) == [2, 2] and given.get("group", 1) == 1
             and list(given.get("dilations", [1, 1])) == [1, 1] and pads == [(side - 1) // 2] * 4 and side % 2)
    if not plain or weights.shape[1] > STEM_BANDS:
        return
    before = (pads[0] + 1) // 2                                 # cells above the one whose first pixel a kernel is centred on
    after = (side - 1 - pads[0]) // 2
    cells = _in_cells(weights, pads[0], before, before + after + 1)
    constants[stem.input[1]].CopyFrom(numpy_helper.from_array(cells, stem.input[1]))
    name = f"{image}/cells"
    del stem.attribute[:]
    stem.attribute.extend(helper.make_attribute(key, value) for key, value in (
        ("kernel_shape", cells.shape[2:]), ("strides", [1, 1]), ("pads", [before, before, after, after]), ("group", 1)))
    place = list(model.graph.node).index(stem)
    stem.input[0] = name
    model.graph.node.insert(place, helper.make_node("SpaceToDepth", [image], [name], name=name, blocksize=2))
    ranges[name] = ranges[image]


def _in_cells(weights: np.ndarray, pad: int, before: int, side: int) -> np.ndarray:
    """(out, bands, k, k) over pixels to (out, 4 * bands, side, side) over cells of 2 x 2 pixels, channels as SpaceToDepth's."""
    out, bands = weights.shape[:2]
    cells = np.zeros((out, 4 * bands, side, side), np.float32)
    for row in range(weights.shape[2]):
        for col in range(weights.shape[3]):
            (cell_row, in_row), (cell_col, in_col) = divmod(row - pad, 2), divmod(col - pad, 2)
            first = (2 * in_row + in_col) * bands
            cells[:, first:first + bands, cell_row + before, cell_col + before] = weights[:, :, row, col]
    return cells


def chunk_groups(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], steps: dict[str, np.ndarray]) -> None:
    """A wide grouped convolution becomes several over neighbouring groups, each small enough to be made dense at load.

    Args:
        model: changed in place; a convolution counts if it has groups of more than one channel and feeds one Relu.
        ranges: of its tensors; those of the new tensors are added.
        steps: by name of weights, of each channel; those of the new weights are added.
    """
    constants = {t.name: t for t in model.graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    nodes: list[onnx.NodeProto] = []
    replaced: set[str] = set()
    for node in model.graph.node:
        after = users.get(node.output[0], []) if node.op_type == "Conv" else []
        if node.name in replaced:
            continue
        if len(after) == 1 and after[0].op_type == "Relu" and _wide(node, constants) and own_constants(model, node.input[1:], constants):
            nodes += _chunks(model, (node, after[0]), constants, (ranges, steps))
            replaced.add(after[0].name)
        else:
            nodes.append(node)
    set_nodes(model, nodes)


def own_constants(model: onnx.ModelProto, names: Sequence[str], constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether these are constants that one node alone reads."""
    read = [name for node in model.graph.node for name in node.input]
    return all(name in constants and read.count(name) == 1 for name in names)


def set_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Replace the graph's nodes; some of `nodes` may be its own."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _wide(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if len(node.input) != 3 or not {node.input[1], node.input[2]} <= {*constants}:
        return False
    dims, groups = constants[node.input[1]].dims, attributes_of(node).get("group", 1)
    return groups > 1 and 1 < dims[1] <= CHUNK_CHANNELS // 2 and dims[0] == dims[1] * groups > CHUNK_CHANNELS


def _chunks(model: onnx.ModelProto, pair: tuple[onnx.NodeProto, onnx.NodeProto], constants: dict[str, onnx.TensorProto],
            known: tuple[dict[str, tuple[float, float]], dict[str, np.ndarray]]) -> list[onnx.NodeProto]:
    (conv, relu), (ranges, steps) = pair, known
    weights, bias = (numpy_helper.to_array(constants[name]) for name in conv.input[1:3])
    groups, width = attributes_of(conv)["group"], weights.shape[1]
    count = -(-groups // (CHUNK_CHANNELS // width))
    edges = [width * (i * groups // count) for i in range(count + 1)]
    sizes = numpy_helper.from_array(np.diff(edges).astype(np.int64), f"{conv.name}/sizes")
    model.graph.initializer.append(sizes)
    parts = [f"{conv.input[0]}/{conv.name}/part{i}" for i in range(count)]
    made = [helper.make_node("Split", [conv.input[0], sizes.name], parts, name=f"{conv.name}/split", axis=1)]
    results = []
    for i, (first, last) in enumerate(zip(edges, edges[1:])):
        names = [f"{name}/part{i}" for name in (*conv.input[1:3], conv.output[0], relu.output[0])]
        model.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(values[first:last]), name)
                                       for values, name in ((weights, names[0]), (bias, names[1])))
        given = {**attributes_of(conv), "group": (last - first) // width}
        made += [helper.make_node("Conv", [parts[i], *names[:2]], [names[2]], name=f"{conv.name}/part{i}", **given),
                 helper.make_node("Relu", [names[2]], [names[3]], name=f"{relu.name}/part{i}")]
        ranges.update({parts[i]: ranges[conv.input[0]], names[2]: ranges[conv.output[0]], names[3]: ranges[relu.output[0]]})
        if conv.input[1] in steps:
            steps[names[0]] = steps[conv.input[1]][first:last]
        results.append(names[3])
    for name in conv.input[1:3]:
        model.graph.initializer.remove(constants[name])
    return [*made, helper.make_node("Concat", results, [relu.output[0]], name=f"{relu.name}/join", axis=1)]


def prepare(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], steps: dict[str, np.ndarray]) -> None:
    """Both rewrites of a float graph, in place; ranges of tensors and steps of weights learn of the new ones."""
    stem_in_cells(model, ranges)
    chunk_groups(model, ranges, steps)
