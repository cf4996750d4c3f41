"""Graphs for TensorRT: types stand in the file, for its strongly typed networks take no precision flags.

INT8: signed, symmetric, zero point 0; only the inputs of convolutions are quantised, so that Conv, Add and Relu fuse first;
biases stay float; one branch of a residual addition is quantised too, or it would run in float and break the int8 chain.
FP16: everything but what half precision cannot hold. Source: NVIDIA's explicit-quantisation rules, NVIDIA/TensorRT#1992.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from hfd_edge.errors import ExportError
from hfd_edge.export.calibration import Ranges
from hfd_edge.export.grid_flow import find_flow
from hfd_edge.export.quantize_head import head_of
from hfd_edge.export.quantize_options import check_kept
from hfd_edge.export.quantize_rounding import round_weights, with_steps

HALF_LIMIT = 65504.0 / 4                # a tensor beyond it stays float32: calibration has not seen the largest value there is
_SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
              "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose"]}


def to_int8_trt(graph: bytes, ranges: Ranges, keep_float: tuple[str, ...] = ()) -> bytes:
    """The INT8 graph for TensorRT.

    Args:
        graph: serialised float ONNX, opset 18.
        ranges: from `calibrate` on this very graph.
        keep_float: names of convolutions that are not quantised.
    Raises:
        ExportError: the ranges are those of another graph, or a node to keep is not in it.
    """
    ranges.check_graph(graph)
    check_kept(graph, keep_float)
    model = onnx.load_from_string(graph)
    data = TensorsData(CalibrationMethod.MinMax, {n: (np.float32(a), np.float32(b)) for n, (a, b) in ranges.tensors.items()})
    kept = [head_of(model), *keep_float]
    steps = round_weights(model, ranges.reads, 8, kept)
    quantizer = QDQQuantizer(onnx.shape_inference.infer_shapes(model), True, False, QuantType.QInt8, QuantType.QInt8, data, [],
                             kept, ["Conv", "ConvTranspose"], {**_SYMMETRIC, **with_steps(steps)})
    quantizer.quantize_model()
    _quantise_residuals(quantizer.model.model, ranges)
    return _finished(quantizer.model.model, model)


def _quantise_residuals(model: onnx.ModelProto, ranges: Ranges) -> None:
    """Q/DQ on one branch of every Add that a convolution feeds; of two convolutions on the one with fewer before it."""
    makers = {name: node for node in model.graph.node for name in node.output}
    depths: dict[str, int] = {}
    for node in list(model.graph.node):
        _depth(node.output[0], makers, depths)
    for node in [n for n in model.graph.node if n.op_type == "Add"]:
        fed = [makers[name].op_type == "Conv" if name in makers else False for name in node.input]
        computed = [name in makers and name in depths for name in node.input]
        if not any(fed) or not all(computed):
            continue
        branch = min((0, 1), key=lambda i: (fed[i], depths[node.input[i]]))
        name = node.input[branch]
        if makers[name].op_type != "DequantizeLinear":
            node.input[branch] = _pair(model, name, max(map(abs, ranges.tensors[name])))


def _depth(tensor: str, makers: dict[str, onnx.NodeProto], depths: dict[str, int]) -> int:
    """Convolutions on the longest way to a tensor."""
    open_tensors = [tensor]
    while open_tensors:
        name = open_tensors[-1]
        node = makers.get(name)
        missing = [i for i in node.input if i in makers and i not in depths] if node is not None else []
        if name in depths or not missing:
            before = max((depths.get(i, 0) for i in node.input), default=0) if node is not None else 0
            depths[name] = before + (node is not None and node.op_type == "Conv")
            open_tensors.pop()
        else:
            open_tensors += missing
    return depths[tensor]


def _pair(model: onnx.ModelProto, name: str, largest: float) -> str:
    """A Q/DQ pair after a tensor, of one int8 scale; gives the name of what comes out."""
    scale, zero, stored, result = (f"{name}/residual_{part}" for part in ("scale", "zero", "q", "dq"))
    if all(t.name != scale for t in model.graph.initializer):
        model.graph.initializer.extend((numpy_helper.from_array(np.float32(max(largest, 1e-12) / 127), scale),
                                        numpy_helper.from_array(np.int8(0), zero)))
        model.graph.node.extend((helper.make_node("QuantizeLinear", [name, scale, zero], [stored], name=stored),
                                 helper.make_node("DequantizeLinear", [stored, scale, zero], [result], name=result)))
    return result


def to_fp16_trt(graph: bytes, ranges: Ranges | None = None) -> bytes:
    """The FP16 graph for TensorRT; inputs and outputs stay float32.

    Args:
        graph: serialised float ONNX, opset 18.
        ranges: where given, nodes that read or make values beyond half precision's range stay float32.
    Raises:
        ExportError: the ranges are those of another graph, or a weight is beyond half precision.
    """
    model = onnx.load_from_string(graph)
    if ranges is not None:
        ranges.check_graph(graph)
    tensors = {} if ranges is None else ranges.tensors
    wide = {name for name, ends in tensors.items() if max(map(abs, ends)) > HALF_LIMIT}
    kept = {node.name for node in model.graph.node if wide & {*node.input, *node.output}} | _sampling(model)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.abs(numpy_helper.to_array(tensor)).max(initial=0) > HALF_LIMIT:
            raise ExportError(f"{tensor.name} holds values beyond {HALF_LIMIT:g}, which half precision cannot hold: leave out "
                              "fp16, or train with weight decay")
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=["Range"], node_block_list=sorted(kept))
    _leave_out_detours(half)
    return _finished(half, onnx.load_from_string(graph))


def _leave_out_detours(model: onnx.ModelProto) -> None:
    """Casts to half precision and straight back, which the converter writes between neighbours that both stay float32: what is kept
    from half precision would be rounded to it, or overflow, all the same."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    known = onnx.shape_inference.infer_shapes(model).graph
    floats = {value.name for value in (*known.value_info, *known.input) if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    ends, straight = {value.name for value in graph.output}, {}
    for node in [n for n in graph.node if _cast_to(n) == onnx.TensorProto.FLOAT]:
        there = makers.get(node.input[0])
        if there is None or _cast_to(there) != onnx.TensorProto.FLOAT16 or there.input[0] not in floats:
            continue
        source, back = there.input[0], node.output[0]
        if back not in ends:
            straight[back] = source
        elif source in makers:
            straight[source] = back                     # the graph's own output keeps its name
        else:
            continue
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [straight.get(source := straight.get(name, name), source) for name in node.input]      # the source may be renamed
        node.output[:] = [straight.get(name, name) for name in node.output]
    read = {name for node in graph.node for name in node.input} | ends
    for node in [n for n in graph.node if _cast_to(n) == onnx.TensorProto.FLOAT16 and n.output[0] not in read]:
        graph.node.remove(node)


def _cast_to(node: onnx.NodeProto) -> int | None:
    return next((a.i for a in node.attribute if a.name == "to"), None) if node.op_type == "Cast" else None


def _sampling(model: onnx.ModelProto) -> set[str]:
    """Nodes that compute positions for GridSample, and GridSample itself: half precision has cells of its own there."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    samplers = [node.name for node in model.graph.node if node.op_type == "GridSample"]
    if not samplers:
        return set()
    makers = {name: node for node in model.graph.node for name in node.output}
    flows = find_flow(model, constants)
    found = {*samplers, *flows.inside}
    open_tensors = [name for node in model.graph.node if node.name in found for name in node.input]
    flow_tensors = {flow.tensor for flow in flows.of.values()}
    while open_tensors:
        name = open_tensors.pop()
        node = makers.get(name)
        if node is None or node.name in found or name in flow_tensors or not _free_of_pixels(node, makers, model):
            continue
        found.add(node.name)
        open_tensors += node.input
    return found


def _free_of_pixels(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], model: onnx.ModelProto) -> bool:
    """Whether a node depends on sizes alone, not on pixels."""
    open_nodes, seen = [node], set()
    while open_nodes:
        node = open_nodes.pop()
        if node.op_type == "Shape" or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if model.graph.input[0].name in node.input:
            return False
        open_nodes += [makers[name] for name in node.input if name in makers]
    return True


def _finished(model: onnx.ModelProto, source: onnx.ModelProto) -> bytes:
    """The checked bytes, without inferred shapes, of the source's opset and IR version."""
    ONNXModel(model).topological_sort()
    del model.graph.value_info[:]
    del model.opset_import[:]
    model.opset_import.extend(source.opset_import)
    model.ir_version, model.graph.name = source.ir_version, source.graph.name
    model.producer_name, model.producer_version, model.doc_string = "hfd_edge", "", ""
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
