"""A foreign graph in the form of ours: constants folded, resizing by constant factors, plain names.

Most functions change a model in place; `foreign_network.py` proves afterwards that the answer is the same.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from hfd_edge.engine.operators import MAX_IR
from hfd_edge.errors import ExportError
from hfd_edge.export.foreign_intake import one_line
from hfd_edge.export.reach_node import SIZE_OF

INPUT_NAME, OUTPUT_NAME = "pixels", "logits"
_PLACES = {"Pad": (1,), "Slice": (1, 2, 3, 4)}      # inputs: how far; from where, to where, along which axes, in which steps
OLDEST_OPSET = 13                       # Softmax of earlier sets runs over everything behind its axis
Shapes = Mapping[str, tuple[int, ...]]
_JOINING = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"))
_TO_THE_END = 2**31 - 1                 # ends of a Slice from here on mean "to the end" for any image


def folded(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A new model after ONNX Runtime's basic, purely ONNX rewriting: constants, identities, batch norms behind convolutions.

    Raises:
        ExportError: ONNX Runtime refuses the graph, or the operator set cannot be raised to OLDEST_OPSET.
    """
    model = _raised(model, name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"],
                                         disabled_optimizers=["MatMulAddFusion"])       # it makes Gemm, which has no bound
            result = onnx.load(options.optimized_model_filepath)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise ExportError(f"ONNX Runtime refuses {name}: {one_line(error)}; export the network again") from error
    opset = next(o.version for o in result.opset_import if o.domain in ("", "ai.onnx"))
    del result.opset_import[:], result.graph.value_info[:]
    result.opset_import.append(onnx.helper.make_opsetid("", opset))
    result.ir_version = min(result.ir_version, MAX_IR)
    return result


def computed_places(model: onnx.ModelProto) -> list[str]:
    """Where Pads and Slices begin and end, as far as nodes make that from sizes and constants alone, whatever the pixels are."""
    known, made = {tensor.name for tensor in model.graph.initializer}, []
    for node in model.graph.node:
        if node.op_type in SIZE_OF or all(name in known for name in node.input if name):
            known.update(node.output)
            made += node.output
    read = {name for node in model.graph.node for i, name in enumerate(node.input) if i in _PLACES.get(node.op_type, ())}
    return [name for name in made if name in read]


def hold_places(model: onnx.ModelProto, runs: list[Mapping[str, np.ndarray]]) -> None:
    """Pads and Slices whose places came out the same in every run get them as constants; a Pad by nothing goes.

    Many U-Nets pad what they up-sampled to fit the skip, which is by nothing where the image is a multiple of the stride.

    Args:
        runs: `computed_places` as they were for images of different sizes; one size alone does not tell where a Slice ends.
    """
    same = {name: values for name, values in runs[0].items() if all(np.array_equal(values, run[name]) for run in runs)}
    names = {name: constant(model, f"place_{i}", values) for i, (name, values) in enumerate(same.items())}
    inits = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for i in _PLACES.get(node.op_type, ()):
            if i < len(node.input) and (len(runs) > 1 or (node.op_type, i) != ("Slice", 2)):
                node.input[i] = names.get(node.input[i], node.input[i])
        if node.op_type == "Pad" and not inits.get(node.input[1], np.ones(1)).any():
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]


def open_slices(model: onnx.ModelProto, run: Shapes) -> None:
    """Of a graph for one size: a Slice that ends where its tensor ends does so for any size."""
    inits = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for i, node in enumerate(model.graph.node):
        if node.op_type != "Slice" or any(name and name not in inits for name in node.input[2:]):
            continue
        ends = inits[node.input[2]].tolist()
        opened = [_TO_THE_END if axis is not None and 0 <= run[node.input[0]][axis] <= end else end for end, axis in _ends(node, inits)]
        if opened != ends:
            node.input[2] = constant(model, f"slice_ends_{i}", np.array(opened, np.int64))


def drop_expands(model: onnx.ModelProto, runs: list[Shapes]) -> None:
    """An Expand to the size of what it is joined with goes: joining does it."""
    expands = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Expand"}
    for node in model.graph.node:
        others = [name for name in node.input if name not in expands]
        for i, name in enumerate(node.input):
            if node.op_type in _JOINING and name in expands and any(
                    all(run.get(other) == run[name] for run in runs) for other in others):
                node.input[i] = expands[name]


def resize_by_factors(model: onnx.ModelProto, runs: list[Shapes]) -> int:
    """Resizing to a computed or constant size becomes resizing by the factor that it had in every run; gives how many.

    Args:
        runs: shape of every tensor in runs over images of different sizes. What has no single factor stays as it is.
    """
    changed = 0
    known = {tensor.name for tensor in model.graph.initializer}
    for i, node in enumerate(model.graph.node):
        if node.op_type != "Resize":
            continue
        _plain_half_pixel(node, runs)
        if len(node.input) == 3 and node.input[2] in known:
            continue
        factors = {tuple(_factors(run.get(node.input[0], ()), run.get(node.output[0], ()))) for run in runs}
        if len(factors) != 1 or len(scales := factors.pop()) != 4 or scales[:2] != (1, 1):
            continue
        source = node.input[0]
        del node.input[:]
        node.input.extend([source, "", constant(model, f"resize_scales_{i}", np.array(scales, np.float32))])
        changed += 1
    return changed


def pad_by_numbers(model: onnx.ModelProto, runs: list[Shapes]) -> int:
    """Padding to SAME, as Keras networks have it, becomes the numbers that it had in every run; gives how many."""
    changed, weights = 0, {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        where = word(node, "auto_pad", b"")
        if where not in (b"SAME_UPPER", b"SAME_LOWER"):
            continue
        kernel = word(node, "kernel_shape", None) or weights.get(node.input[1], ())[2:]
        found = {tuple(_same(node, kernel, run)) for run in runs}           # no engine here takes dilations beside it
        if len(found) != 1 or min(missing := found.pop(), default=-1) < 0:
            continue
        less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
        kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", [*less, *more] if where == b"SAME_UPPER" else [*more, *less])])
        changed += 1
    return changed


def _same(node: onnx.NodeProto, kernel: tuple[int, ...], run: Shapes) -> list[int]:
    """How many rows and columns are missing for a result of its size; a ConvTranspose has as many too many."""
    steps = zip(run[node.input[0]][2:], run[node.output[0]][2:], word(node, "strides", [1] * len(kernel)), kernel)
    if node.op_type == "ConvTranspose":
        return [(small - 1) * stride + size - large for small, large, stride, size in steps]
    return [max((small - 1) * stride + size - large, 0) for large, small, stride, size in steps]


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and constants that the output does not need."""
    needed, kept = {model.graph.output[0].name}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    nodes = kept[::-1]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors)


def rounded_resizing(model: onnx.ModelProto) -> str:
    """The first bilinear or bicubic resizing whose positions float32 rounds, elsewhere in a tile than in the scene; "" = there is none."""
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Resize" and word(node, "mode", b"nearest") != b"nearest" and len(node.input) == 3:
            factor = next((float(f) for f in scales.get(node.input[2], ()) if math.frexp(f)[0] != 0.5), None)
            if factor is not None:
                return f"{node.name} resizes by {factor:g}"
    return ""


def name_plainly(model: onnx.ModelProto, network: str) -> None:
    """Input "pixels", output "logits", every other tensor and node by operator and number; no traces of the exporter."""
    names = {"": "", model.graph.input[0].name: INPUT_NAME, **{value.name: value.name for value in model.graph.input[1:]}}
    for i, tensor in enumerate(model.graph.initializer):
        names[tensor.name] = tensor.name = names.get(tensor.name, f"constant_{i}")
    for i, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{i}"
        for k, output in enumerate(node.output):
            names.setdefault(output, f"{node.op_type}_{i}_{k}" if k else f"{node.op_type}_{i}_out")
    names[model.graph.output[0].name] = OUTPUT_NAME
    for node in model.graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name, model.graph.name = INPUT_NAME, OUTPUT_NAME, network
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer):
        holder.doc_string = ""
        del holder.metadata_props[:]
    model.producer_name, model.producer_version, model.domain = "hfd_edge", "", ""


def declare_sizes(model: onnx.ModelProto, image: tuple[int | str, ...], logits: tuple[int | str, ...]) -> None:
    """Set the shapes that the graph declares for its input and output: numbers, or names for open sizes."""
    for value, shape in ((model.graph.input[0], image), (model.graph.output[0], logits)):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))


def sizes_stand_in_it(model: onnx.ModelProto) -> bool:
    """Whether a node holds a size of the image as a constant, so that the graph cannot run on another one."""
    inits = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Slice" and any(0 <= end < _TO_THE_END and axis not in (0, 1) for end, axis in _ends(node, inits)):
            return True
        if node.op_type in ("Reshape", "Expand", "Tile", "ConstantOfShape", "Range"):
            return True
        if node.op_type == "Resize" and len(node.input) > 3:
            return True
    return False


def _ends(node: onnx.NodeProto, inits: Mapping[str, np.ndarray]) -> Iterator[tuple[int, int | None]]:
    """(end, axis) of a Slice as far as constants tell."""
    ends = np.ravel(inits.get(node.input[2], ())).tolist()
    axes = np.ravel(inits.get(node.input[3], ())).tolist() if len(node.input) > 3 and node.input[3] else range(len(ends))
    return zip_longest(ends, axes)


def constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> str:
    """Add a constant; gives its name."""
    taken = {tensor.name for tensor in model.graph.initializer}
    while name in taken:
        name += "_"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _raised(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except Exception as error:  # onnx raises its C++ errors as plain RuntimeError and ConvertError
        raise ExportError(f"{name} has opset {opset} and cannot be raised to {OLDEST_OPSET} ({one_line(error)}): export it "
                          "with opset_version=18") from error


def _plain_half_pixel(node: onnx.NodeProto, runs: list[Shapes]) -> None:
    """torch's own half-pixel rule differs from the plain one only where one cell is left."""
    for attribute in node.attribute:
        if attribute.name == "coordinate_transformation_mode" and attribute.s == b"pytorch_half_pixel":
            if all(min(run.get(node.output[0], (1,))[2:], default=1) > 1 for run in runs):
                attribute.s = b"half_pixel"


def _factors(source: tuple[int, ...], result: tuple[int, ...]) -> list[float]:
    return [b / a for a, b in zip(source, result)] if len(source) == len(result) and 0 not in source else []


def word(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node, or the default."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
