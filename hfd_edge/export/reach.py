"""How far an input pixel is felt: a bound from walking the ONNX graph, in whole pixels and for every stride phase.

For each tensor and each cell of one period of the total stride the walk knows the first and last input row (and column) that the
cell can depend on. Whatever joins all positions of the image (global pooling, instance norm, attention) has no such interval and
is refused by name. `measured.py` holds the measurement that must stay within this bound.
Source: receptive-field arithmetic of Araujo, Norris, Sim 2019 (Distill), here per phase instead of per layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from hfd_edge.errors import ReachError
from hfd_edge.export.grid_flow import FlowNodes, find_flow
from hfd_edge.export.reach_axis import IMAGE_LAYOUT, Axis, Field, input_field, linear_cells
from hfd_edge.export.reach_node import SIZE_OF, Node
from hfd_edge.export.reach_rules import apply_rule


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a full-resolution pixel of the result sees, in input pixels per side, after bilinear up-sampling of the logits."""

    up_px: int
    down_px: int
    left_px: int
    right_px: int

    @property
    def reach_px(self) -> int:
        return max(self.up_px, self.down_px, self.left_px, self.right_px)


def bound_reach(graph: bytes | onnx.ModelProto, stride_px: int, logit_stride_px: int) -> Reach:
    """The bound of a graph with one image input and one output of logits.

    Args:
        graph: serialised ONNX or the model itself, float32, sizes as a multiple of `stride_px`.
        stride_px: total stride of the network; a tensor coarser than it is refused.
        logit_stride_px: input pixels per logit.
    Raises:
        ReachError: an operator joins positions without bound or is not known here, or the strides are not those of the graph.
    """
    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else graph
    field = output_field(model, stride_px)
    if any(axis.stride != logit_stride_px for axis in (field.rows, field.cols)):
        raise ReachError(f"the logits leave at strides {field.rows.stride} x {field.cols.stride}, logit_stride_px="
                         f"{logit_stride_px}: they must agree; declare the stride the network has")
    up, down = _full_resolution(field.rows, logit_stride_px)
    left, right = _full_resolution(field.cols, logit_stride_px)
    return Reach(up, down, left, right)


def output_field(model: onnx.ModelProto, stride_px: int) -> Field:
    """The field of the graph's output: walk every node once, in the file's order."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    image, flows = model.graph.input[0].name, find_flow(model, constants)
    fields: dict[str, Field | None] = {name: None for name in constants}        # None: does not depend on the pixels
    fields[image], sizes = input_field(stride_px), set()                        # sizes: what is made from the image's size
    for proto in model.graph.node:
        if proto.op_type == "Constant":
            constants[proto.output[0]] = numpy_helper.to_array(proto.attribute[0].t)
        if proto.name in flows.inside:
            continue                                                            # between a flow's Clip and its GridSample
        node = Node.of(proto, fields, constants)
        told = node.made_from(sizes)
        if told and (not node.dynamic or node.op_type in SIZE_OF):
            sizes.update(proto.output)
        elif told:
            node.refuse(f"its input {told} is made from the size of the image, which is another in a tile than in the scene (a position, "
                        "as of CoordConv, a position embedding or interpolate(mode='nearest-exact'), or a size as a factor)")
        field = _field(node, flows)
        fields.update({name: field for name in proto.output})
    result = fields.get(model.graph.output[0].name)
    if result is None:
        raise ReachError(f"{model.graph.output[0].name} does not depend on {image}: this is no segmentation network; check the graph")
    if result.layout != IMAGE_LAYOUT:
        raise ReachError(f"{model.graph.output[0].name} is not (batch, classes, rows, cols), but in another order: check the graph")
    return result


def _field(node: Node, flows: FlowNodes) -> Field | None:
    if node.op_type in SIZE_OF or not node.dynamic:
        return None
    if node.op_type == "GridSample":
        flow = flows.of[node.name]
        return node.sampled(node.field_of(flow.tensor), flow.limit_cells)
    return apply_rule(node)


def _full_resolution(axis: Axis, logit_stride_px: int) -> tuple[int, int]:
    """(before, after) reach of full-resolution pixels along an axis."""
    before = after = 0
    for pixel in range(axis.period_px):
        low, high = axis.hull(*linear_cells(pixel, logit_stride_px))
        before, after = max(before, pixel - low), max(after, high - pixel)
    return before, after
