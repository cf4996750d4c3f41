"""Our own check of graphs for TensorRT: what its parser refuses, and what it accepts with a warning and then gets wrong.

A uint8 Q/DQ graph with zero point 0 is the trap: the parser says "defaulting to INT8" and saturates at 127. Nothing here needs
TensorRT. Rules: NVIDIA, "Explicit Quantization" of the TensorRT documentation; NVIDIA/TensorRT#1992, #1144, #4646.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.errors import ExportError

_WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1}
_AFTER_CONV = frozenset(("Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "Softplus",
                         "BatchNormalization"))         # fuse into the convolution before them, unless a Q/DQ stands between
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Legality:
    """What a graph for TensorRT holds; it is legal if there are no problems."""

    name: str
    pairs: int                      # QuantizeLinear nodes over activations
    convolutions: int
    int8_convolutions: int          # with activations and weights in int8
    problems: tuple[str, ...]


def check_trt(graph: bytes, name: str) -> Legality:
    """Refuse a graph that TensorRT 10.3 to 11 would refuse, or read as something else.

    Args:
        graph: serialised ONNX, a `-trt` member of a package.
        name: what to call it in messages.
    Raises:
        EngineError: operators, operator set, IR version, external data: see `graph_scan.check_graph`.
        ExportError: Q/DQ of another type or place, with all that is wrong by name.
    """
    found = inspect_trt(graph, name)
    if found.problems:
        more = len(found.problems) - _SHOWN
        shown = "; ".join(found.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise ExportError(f"{name} is not legal for TensorRT: {shown}. Quantise with signed, symmetric int8 (zero point 0), "
                          "weights per channel, float biases, and no Q/DQ between a convolution and its activation")
    return found


def inspect_trt(graph: bytes, name: str) -> Legality:
    """The same without the error for Q/DQ: all problems in a list."""
    check_graph(scan(graph, name))
    view = _View(onnx.load_from_string(graph))
    for node in view.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            view.check_scale_and_type(node)
            view.check_place(node)
        elif node.op_type in _WEIGHT_AXIS:
            view.check_convolution(node)
        elif node.op_type == "GridSample":
            view.check_sampling(node)
    view.check_types()
    pairs = sum(node.op_type == "QuantizeLinear" and node.input[0] not in view.constants for node in view.nodes)
    return Legality(name, pairs, sum(node.op_type in _WEIGHT_AXIS for node in view.nodes), view.int8_convolutions,
                    tuple(view.problems))


@dataclass(slots=True)
class _View:
    """A graph with what the rules ask of it."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    makers: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    int8_convolutions: int = 0

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in self.nodes:
            self.makers.update({name: node for name in node.output})
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            self.types[value.name] = value.type.tensor_type.elem_type

    def wrong(self, node: onnx.NodeProto, what: str) -> None:
        self.problems.append(f"{node.op_type} {(node.name or node.output[0])[:60]!a} {what}")

    def check_scale_and_type(self, node: onnx.NodeProto) -> None:
        """Constant scale above 0; zero point there, constant, int8 and 0; per channel only for weights, on the right axis."""
        scale = self.constants.get(node.input[1])
        if scale is None or not np.isfinite(scale).all() or not (np.asarray(scale, np.float64) > 0).all():
            return self.wrong(node, "has a scale that is not constant, finite and above 0")
        zero = node.input[2] if len(node.input) > 2 else ""
        if not zero:
            return self.wrong(node, "has no zero point: it then is uint8, which TensorRT reads as int8 and cuts at 127")
        point = self.constants.get(zero)
        if point is None or point.dtype != np.int8:
            kind = "not constant" if point is None else str(point.dtype)
            trap = ": TensorRT only warns, reads it as int8 and cuts at 127" if kind == "uint8" else ""
            return self.wrong(node, f"has a zero point that is {kind}, only int8 is legal{trap}")
        if point.any():
            return self.wrong(node, f"has zero point {int(point.ravel()[np.flatnonzero(point)[0]])}: only 0 is legal")
        if scale.size > 1:
            self._check_channels(node, scale)

    def _check_channels(self, node: onnx.NodeProto, scale: np.ndarray) -> None:
        weight = self._weight_behind(node)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if weight is None:
            return self.wrong(node, f"has {scale.size} scales over an activation: one per tensor is legal")
        expected = {_WEIGHT_AXIS.get(reader.op_type) for reader in self._final_readers(node)}
        if expected != {axis} or scale.size != weight.shape[axis]:
            self.wrong(node, f"has {scale.size} scales on axis {axis} of a weight of shape {weight.shape}: the output channels "
                             f"are axis {', '.join(str(a) for a in expected)}")

    def _weight_behind(self, node: onnx.NodeProto) -> np.ndarray | None:
        source = self.makers.get(node.input[0])
        name = source.input[0] if source is not None and source.op_type == "QuantizeLinear" else node.input[0]
        return self.constants.get(name)

    def _final_readers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Who reads a value, behind a DequantizeLinear if `node` quantises it."""
        readers = self.readers.get(node.output[0], [])
        if node.op_type == "QuantizeLinear":
            readers = [reader for dq in readers if dq.op_type == "DequantizeLinear"
                       for reader in self.readers.get(dq.output[0], [])]
        return readers

    def check_place(self, node: onnx.NodeProto) -> None:
        """Q before DQ; DQ of int8 alone; no pair between a convolution and what fuses into it."""
        if node.op_type == "DequantizeLinear":
            stored = self.constants.get(node.input[0])
            source = self.makers.get(node.input[0])
            if stored is not None and stored.dtype != np.int8:
                bias = " (a bias: it must stay float)" if stored.dtype == np.int32 else ""
                self.wrong(node, f"reads {stored.dtype} constants{bias}: only int8 is legal")
            elif stored is None and (source is None or source.op_type != "QuantizeLinear"):
                self.wrong(node, "stands behind no QuantizeLinear")
            return
        alone = [reader.op_type for reader in self.readers.get(node.output[0], []) if reader.op_type != "DequantizeLinear"]
        if alone or not self.readers.get(node.output[0]):
            self.wrong(node, f"is read by {alone or 'nobody'}: a DequantizeLinear must follow")
        source = self.makers.get(node.input[0])
        if source is not None and source.op_type in _WEIGHT_AXIS:
            after = sorted({reader.op_type for reader in self._final_readers(node)} & _AFTER_CONV)
            if after:
                self.wrong(node, f"stands between {source.op_type} {source.name[:60]!a} and {', '.join(after)}: the output of "
                                 "a convolution is not quantised")

    def check_convolution(self, node: onnx.NodeProto) -> None:
        """Activations and weights both in int8 or both in float; the bias always float."""
        sides = [name in self.makers and self.makers[name].op_type == "DequantizeLinear" for name in node.input[:2]]
        self.int8_convolutions += all(sides)
        if any(sides) and not all(sides):
            self.wrong(node, f"has {'activations' if sides[0] else 'weights'} in int8, the other side in float: both or neither")
        if len(node.input) > 2 and node.input[2]:
            bias = self.constants.get(node.input[2])
            if bias is None or bias.dtype not in (np.float32, np.float16):
                self.wrong(node, "has a bias that is not a float constant")

    def check_sampling(self, node: onnx.NodeProto) -> None:
        """GridSample and its grid in float32: half precision cannot tell neighbouring cells of a large tile apart."""
        halves = [name for name in node.input if self.types.get(name) == TensorProto.FLOAT16]
        if halves:
            self.wrong(node, f"reads {', '.join(ascii(name[:40]) for name in halves)} in half precision: it must stay float32")

    def check_types(self) -> None:
        """No type that TensorRT defaults to another: double and unsigned bytes."""
        counts = Counter(self.types.values())
        for kind, way in ((TensorProto.DOUBLE, "cast to float32"), (TensorProto.UINT8, "use int8")):
            if counts[kind]:
                names = [name for name, found in self.types.items() if found == kind]
                what = TensorProto.DataType.Name(kind)
                self.problems.append(f"{counts[kind]} tensors are {what} ({names[0][:40]!a}, ...): {way}")
        for value in (*self.model.graph.input, *self.model.graph.output):
            if value.type.tensor_type.elem_type not in _FLOATS:
                self.problems.append(f"{value.name[:40]!a} is {TensorProto.DataType.Name(value.type.tensor_type.elem_type)}: "
                                     "inputs and outputs are float")
