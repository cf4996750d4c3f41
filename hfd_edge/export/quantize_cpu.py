"""The INT8 graph for ONNX Runtime on a CPU: unsigned activations, signed weights per channel, small, and made of plain ONNX. TensorRT reads
unsigned activations wrong, and signed ones are slow here, so it has a graph of its own (`quantize_trt`).

ONNX Runtime's own quantiser places the Q/DQ pairs; the passes around it make the convolutions fast (`quantize_layout`) and the
file small. Source of the saturation rule: vpmaddubsw of AVX2 adds two products of uint8 and int8 into an int16.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration import Ranges
from hfd_edge.export.foreign_rewrite import drop_unused
from hfd_edge.export.quantize_bytes import carry_bytes, round_once
from hfd_edge.export.quantize_head import head_as_product, head_of
from hfd_edge.export.quantize_layout import attributes_of, prepare, set_nodes
from hfd_edge.export.quantize_options import Int8Options, check_kept
from hfd_edge.export.quantize_rounding import round_weights, with_steps

QUANTISED = ("Conv", "Relu", "Clip", "Add", "Concat", "Split", "Resize", "MaxPool", "AveragePool")


def to_int8_cpu(graph: bytes, ranges: Ranges, options: Int8Options = Int8Options()) -> bytes:
    """The graph with Q/DQ around every operator of QUANTISED, but for what the options keep in float; the head is a product
    of whole numbers as good as float (quantize_head), or float without the fast layout.

    Args:
        graph: serialised float ONNX, opset 18.
        ranges: from `calibrate` on this very graph.
    Returns:
        serialised ONNX of the same inputs and outputs; its nodes and tensors have short names of their own.
    Raises:
        ExportError: the ranges are those of another graph, or a node to keep is not in it.
    """
    ranges.check_graph(graph)
    if options.weight_bits not in (7, 8):
        raise ExportError(f"weight_bits={options.weight_bits}: weights have 7 bits, or 8 where the processor has VNNI")
    model = onnx.load_from_string(graph)
    check_kept(graph, options.keep_float)
    kept = {head_of(model), *options.keep_float}
    others = {node.name for node in model.graph.node} - {options.only} if options.only else set()
    tensors, steps = dict(ranges.tensors), round_weights(model, ranges.reads, options.weight_bits, kept | others)
    if options.fast_layout:
        prepare(model, tensors, steps)
    quantised = _quantise(model, (tensors, steps), _excluded(model, kept), options)
    _keep_weights_float(quantised)
    round_once(quantised)
    if options.fast_layout:
        carry_bytes(quantised)
        _dense_at_load(quantised)
        head_as_product(quantised, head_of(model), options.weight_bits)
    drop_unused(quantised)                              # ONNX Runtime runs a dequantisation that has lost its reader all the same
    _shrink(quantised)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised.SerializeToString(deterministic=True)


def _excluded(model: onnx.ModelProto, kept: set[str]) -> list[str]:
    """Kept convolutions or their parts, and what joins or resizes for them, or their input would still be quantised."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = [node for node in model.graph.node if node.name in kept or node.name.rpartition("/")[0] in kept]
    joins = {makers[name].name for node in found for name in node.input[:1]
             if name in makers and makers[name].op_type in ("Concat", "Add", "Resize", "Split")}
    return [node.name for node in found] + sorted(joins)


def _quantise(model: onnx.ModelProto, known: tuple[dict[str, tuple[float, float]], dict[str, np.ndarray]], excluded: list[str],
              options: Int8Options) -> onnx.ModelProto:
    tensors, steps = known
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in tensors.items()}
    quantizer = QDQQuantizer(onnx.shape_inference.infer_shapes(model), True, options.weight_bits == 7, QuantType.QInt8,
                             QuantType.QUInt8, TensorsData(CalibrationMethod.MinMax, data),
                             _with_activation(model, options.only), excluded, list(QUANTISED), with_steps(steps))
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = quantizer.model.model
    del result.opset_import[:]
    result.opset_import.extend(model.opset_import)
    return result


def _with_activation(model: onnx.ModelProto, name: str) -> list[str]:
    """A convolution and the Relu or Clip behind it, whose range its output is quantised with; nothing for ""."""
    if not name:
        return []
    made = next(node.output[0] for node in model.graph.node if node.name == name)
    users = [node for node in model.graph.node if made in node.input]
    return [name] + [node.name for node in users if len(users) == 1 and node.op_type in ("Relu", "Clip")]


def _keep_weights_float(model: onnx.ModelProto) -> None:
    """Give every convolution with float weights a dequantisation of its own, with one scale per channel (all equal).

    Between a scalar dequantisation and a quantisation, ONNX Runtime (WeightBiasQuantization, 1.23 to 1.32) rounds float weights to
    int8 with one scale for the whole tensor, so that what was kept in float for its precision runs coarser than what was not: a
    Lite0 stem changed 13 % of the labels instead of 1.7 %. It leaves dequantisations with a scale per channel alone.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {t.name: t for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        before = makers.get(node.input[0]) if node.op_type in ("Conv", "ConvTranspose") else None
        if before is not None and before.op_type == "DequantizeLinear" and node.input[1] in constants:
            dims, groups = constants[node.input[1]].dims, attributes_of(node).get("group", 1)
            channels = dims[0] if node.op_type == "ConvTranspose" else dims[1] * groups
            ends = []
            for part in before.input[1:]:
                values = np.full(channels, numpy_helper.to_array(constants[part]))
                ends.append(f"{node.name}/{part}/channels")
                model.graph.initializer.append(numpy_helper.from_array(values, ends[-1]))
            own = f"{node.name}/dequantised"
            nodes.append(helper.make_node("DequantizeLinear", [before.input[0], *ends], [own], name=own, axis=1))
            node.input[0] = own
        nodes.append(node)
    set_nodes(model, nodes)


def _dense_at_load(model: onnx.ModelProto) -> None:
    """Grouped convolutions become dense ones whose zeros are not in the file: plain operators on the weights make them.

    An engine computes constants once, when it loads the graph. Weights (g * k, c, h, w) of g groups are kept as
    (g, c * k * h * w); padding each row by g * c * k * h * w zeros and cutting the flat result leaves row i in column i of a (g, g) array of blocks.
    """
    constants = {t.name: t for t in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    made: list[onnx.NodeProto] = []

    def numbers(values: list[int]) -> str:
        name = "numbers/" + "_".join(map(str, values))
        if name not in constants:
            constants[name] = numpy_helper.from_array(np.array(values, np.int64), name)
            model.graph.initializer.append(constants[name])
        return name

    for node in model.graph.node:
        given = attributes_of(node)
        stored = makers.get(node.input[1]) if node.op_type == "Conv" and given.get("group", 1) > 1 else None
        if stored is None or stored.op_type != "DequantizeLinear" or constants[stored.input[0]].dims[1] == 1:
            continue
        weights = numpy_helper.to_array(constants[stored.input[0]])
        groups, (width, *kernel) = given["group"], weights.shape[1:]
        out = weights.shape[0] // groups
        rows = weights.reshape(groups, out, width, *kernel).swapaxes(1, 2).reshape(groups, -1)
        constants[stored.input[0]].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rows), stored.input[0]))
        steps = (("Pad", [numbers([0, 0, 0, groups * rows.shape[1]])], {}), ("Reshape", [numbers([-1])], {}),
                 ("Slice", [numbers([0]), numbers([groups * rows.size])], {}),
                 ("Reshape", [numbers([groups, groups * width, out, *kernel])], {}),
                 ("Transpose", [], {"perm": [0, 2, 1, 3, 4]}),
                 ("Reshape", [numbers([groups * out, groups * width, *kernel])], {}))
        tensor = stored.input[0]
        for step, (op_type, inputs, attributes) in enumerate(steps):
            made.append(helper.make_node(op_type, [tensor, *inputs], [f"{stored.input[0]}/dense{step}"], **attributes))
            tensor = made[-1].output[0]
        stored.input[0] = tensor
        next(a for a in node.attribute if a.name == "group").i = 1
    set_nodes(model, [*made, *model.graph.node])


def _shrink(model: onnx.ModelProto) -> None:
    """Short names, equal constants once, no zero points of biases, nothing that is not used."""
    del model.graph.value_info[:]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and _kind(model, node.input[0]) == onnx.TensorProto.INT32:
            del node.input[2:]                                      # a bias has no zero point but zero
    ends = {v.name: v.name for v in (*model.graph.input, *model.graph.output)}
    used = {name for node in model.graph.node for name in node.input} | {*ends}
    short: dict[str, str] = {"": "", **ends}
    kept: dict[tuple, str] = {}
    tensors = []
    for tensor in model.graph.initializer:
        content = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        if tensor.name in used:
            if content not in kept:
                kept[content] = f"c{len(kept)}"
                tensors.append(numpy_helper.from_array(numpy_helper.to_array(tensor), kept[content]))
            short[tensor.name] = kept[content]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    for number, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"n{number}", ""
        for names in (node.output, node.input):
            for i, name in enumerate(names):
                names[i] = short.setdefault(name, f"t{len(short)}")
    model.producer_name, model.producer_version, model.graph.name, model.doc_string = "hfd_edge", "", "int8", ""
    del model.metadata_props[:]


def _kind(model: onnx.ModelProto, name: str) -> int:
    return next((t.data_type for t in model.graph.initializer if t.name == name), 0)
