"""The reach bound: exact for graphs of positive weights, never below the measurement, and a refusal where there is none."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from networks import BANDS, exported
from onnx import TensorProto, helper, numpy_helper

from hfd_edge.errors import ReachError
from hfd_edge.export.measured import Probe, measured_reach, measured_within_bound
from hfd_edge.export.parity import open_session
from hfd_edge.export.reach import bound_reach

CONFIGURATIONS = [("resnet18", 16, "flow"), ("resnet18", 8, "local"), ("resnet10t", 16, "none"),
                  ("efficientnet_lite0", 16, "local")]
HALF_PIXEL = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}


class Chain:
    """An ONNX graph of one channel and positive weights, built node after node."""

    def __init__(self):
        self.nodes, self.constants, self.tensor = [], [], "pixels"

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def then(self, op, *inputs, **attributes):
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.tensor, *inputs], [output], name=f"node{len(self.nodes)}", **attributes))
        self.tensor = output
        return self

    def conv(self, size=3, op="Conv", **attributes):
        pad = (size - 1) * attributes.get("dilations", [1])[0] // 2
        return self.then(op, self.constant(np.ones((1, 1, size, size))), **{"pads": [pad] * 4, **attributes})

    def resize(self, scale, **how):
        return self.then("Resize", "", self.constant([1, 1, scale, scale]), **{**HALF_PIXEL, **how})

    def slice(self, starts, ends, axes):
        return self.then("Slice", *(self.constant(v, np.int64) for v in (starts, ends, axes)))

    def bytes(self):
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in ("pixels", self.tensor)]
        graph = helper.make_graph(self.nodes, "chain", ends[:1], ends[1:], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def measure(graph, bands, stride, logit_stride, side, **fields):
    session = open_session(graph)
    name = session.get_inputs()[0].name
    return measured_reach(lambda image: session.run(None, {name: image})[0], Probe(bands, stride, logit_stride, side, **fields))


CHAINS = {
    "3x3": (lambda c: c.conv(), 1, 1), "dilated": (lambda c: c.conv(dilations=[3, 3]), 1, 1),
    "strided": (lambda c: c.conv(strides=[2, 2]).conv().conv(5, strides=[2, 2]), 4, 4),
    "even kernel, uneven padding": (lambda c: c.conv(4, pads=[1, 1, 2, 2]), 1, 1),
    "max pool": (lambda c: c.then("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]).conv(), 2, 2),
    "average pool": (lambda c: c.then("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1).conv(), 2, 2),
    "there and back": (lambda c: c.conv(strides=[2, 2]).conv(strides=[2, 2]).resize(2).conv(), 4, 2),
    "bicubic": (lambda c: c.conv(strides=[2, 2]).resize(2, mode="cubic"), 2, 1), "bicubic down": (lambda c: c.resize(0.5, mode="cubic"), 2, 2),
    "up by 4": (lambda c: c.conv(strides=[4, 4]).resize(4), 4, 1), "up by 3": (lambda c: c.conv(strides=[3, 3]).resize(3), 3, 1),
    "nearest": (lambda c: c.conv(strides=[2, 2]).resize(2, mode="nearest", coordinate_transformation_mode="asymmetric",
                                                        nearest_mode="floor"), 2, 1),
    "transposed": (lambda c: c.conv(strides=[2, 2]).conv(4, op="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1]), 2, 1),
    "shifted": (lambda c: c.then("Pad", c.constant([0, 0, 2, 2, 0, 0, 2, 2], np.int64))
                .slice([4, 4], [2 ** 31, 2 ** 31], [2, 3]), 1, 1),
    "channels last": (lambda c: c.conv().then("Transpose", perm=[0, 2, 3, 1]).then("MatMul", c.constant([[2.0]])).then("Add", c.constant([1]))
                      .then("Transpose", perm=[0, 3, 1, 2]).conv(), 1, 1),
    "an axis gone and back": (lambda c: c.conv().then("Gather", c.constant(0, np.int64), axis=1).then("Unsqueeze", c.constant([1], np.int64))
                              .then("ReduceMax", c.constant([-3], np.int64), keepdims=0).then("Unsqueeze", c.constant([1], np.int64))
                              .then("Squeeze", c.constant([1], np.int64)).then("Unsqueeze", c.constant([-3], np.int64)).conv(), 1, 1),
    "folded": (lambda c: c.then("SpaceToDepth", blocksize=2).then("ReduceSum", c.constant([1], np.int64)), 2, 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_bound_is_exact_for_positive_weights(name):
    build, stride, logit_stride = CHAINS[name]
    graph = build(Chain()).bytes()
    bound = bound_reach(graph, stride, logit_stride).reach_px
    for across in (None, 6 * stride):                       # a square, and two strips
        assert measure(graph, 1, stride, logit_stride, 24 * stride, positive=True, across_px=across) == bound


def test_known_reaches_come_out():
    assert bound_reach(Chain().conv().conv().conv().bytes(), 1, 1).reach_px == 3
    reach = bound_reach(Chain().conv(strides=[2, 2]).bytes(), 2, 2)     # pixel 0 blends logits -1 and 0: -3 .. 1
    assert (reach.up_px, reach.down_px, reach.left_px, reach.right_px) == (3, 2, 3, 2)


@pytest.mark.parametrize("build, word", [
    (lambda c: c.then("GlobalAveragePool"), "GlobalAveragePool"),
    (lambda c: c.then("ReduceMean", c.constant([2, 3], np.int64)), "ReduceMean"),
    (lambda c: c.then("InstanceNormalization", c.constant([1]), c.constant([0])), "InstanceNormalization"),
    (lambda c: c.then("MatMul", "pixels"), "MatMul"), (lambda c: c.then("Softmax", axis=-1), "Softmax"),
    (lambda c: c.then("Conv", c.constant(np.ones((1, 1, 3, 3))), auto_pad="SAME_UPPER"), "auto_pad"),
    (lambda c: c.then("Transpose", perm=[0, 1, 3, 2]), "another order"), (lambda c: c.then("Transpose", perm=[0, 1, 3, 2]).conv(), "Conv"),
    (lambda c: c.resize(2, coordinate_transformation_mode="align_corners"), "align_corners"),
    (lambda c: c.then("LayerNormalization", c.constant(np.ones((4, 4))), axis=2), "LayerNormalization"),
    (lambda c: c.then("MatMul", c.constant(np.ones((4, 4)))), "MatMul"), (lambda c: c.then("Gather", c.constant([0], np.int64), axis=2), "Gather"),
    (lambda c: c.then("Transpose", perm=[0, 2, 3, 1]).then("Add", c.constant(np.ones((4, 1)))), "varies over the image"),
    (lambda c: c.then("Transpose", perm=[0, 2, 3, 1]).then("Softmax", axis=1), "Softmax"),
    (lambda c: c.then("Transpose", perm=[0, 2, 3, 1]).then("Add", "pixels"), "not on the same axes"),
    (lambda c: c.then("BatchNormalization", *[c.constant([1])] * 4, training_mode=1), "call net.eval"),
    (lambda c: c.then("Squeeze"), "whichever those are"),
    (lambda c: c.slice([-4], [2 ** 31], [2]), "end of the tile.*dynamo=True"), (lambda c: c.slice([3], [4], [3]), "picks one row or column.*dynamo=True"),
    (lambda c: c.then("Reshape", c.constant([1, 16, 4, 4], np.int64)), "otherwise than by whole blocks"),
    (lambda c: c.then("GatherND", c.constant([[0, 0, 0, 0]], np.int64)), "nearest-exact.*mode='nearest' is the same"),
    (lambda c: c.then("Add", c.constant(np.ones((8, 8)))), "varies"),
    (lambda c: c.then("GridSample", "grid", padding_mode="border"), "GridSample"), (lambda c: c.then("Mystery"), "no rule"),
    (lambda c: c.conv(strides=[2, 2]).conv(strides=[2, 2]), "stride"),
])
def test_what_has_no_finite_reach_is_refused_by_name(build, word):
    chain = Chain()
    if word == "GridSample":
        chain.nodes.append(helper.make_node("Transpose", ["pixels"], ["grid"], perm=[0, 2, 3, 1]))
    build(chain)
    with pytest.raises(ReachError, match=word):
        bound_reach(chain.bytes(), 2, 2 if word == "stride" else 1)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: "-".join(map(str, c)))
def test_no_measurement_exceeds_the_bound_and_the_bound_is_not_loose(configuration):
    net, graph = exported(*configuration)
    bound = bound_reach(graph, net.stride_px, net.logit_stride_px).reach_px
    side = -(-2 * bound // net.stride_px) * net.stride_px + 3 * net.stride_px
    measured = measure(graph, BANDS, net.stride_px, net.logit_stride_px, side, seeds=(0, 1), across_px=8 * net.stride_px)
    assert 0.8 * bound <= measured <= bound


def test_a_wider_flow_reaches_further_and_an_unclamped_one_is_refused():
    _, graph = exported("resnet18", 16, "flow")
    model = onnx.load_from_string(graph)
    narrow = bound_reach(model, 16, 4).reach_px
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    limits = {name for node in clips for name in node.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in limits:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 4, tensor.name))
    assert bound_reach(model, 16, 4).reach_px >= narrow + 3 * 16 + 3 * 8 - 16
    for node in clips:
        node.op_type = "Identity"
        del node.input[1:]
    with pytest.raises(ReachError, match="Clip"):
        bound_reach(model, 16, 4)


@pytest.mark.parametrize("kernel", [(7, 1), (1, 7)])
def test_a_strip_measures_along_either_axis(kernel):
    chain = Chain()
    chain.then("Conv", chain.constant(np.ones((1, 1, *kernel))), pads=[kernel[0] // 2, kernel[1] // 2] * 2)
    assert measure(chain.bytes(), 1, 1, 1, 40, positive=True, across_px=8) == 3


@pytest.mark.parametrize("wider", [30, 40])
def test_strips_are_wider_than_what_a_graph_mirrors_in_them(wider):
    """ONNX Runtime refuses to mirror more cells than there are, and that ended an export."""
    chain = Chain().conv(4, strides=[4, 4], pads=[0] * 4)
    chain.then("Pad", chain.constant([0, 0, wider, wider] * 2, np.int64), mode="reflect").conv(dilations=[wider] * 2, pads=[0] * 4)
    bound = bound_reach(chain.bytes(), 4, 4).reach_px
    spec = SimpleNamespace(bands=("VV",), stride_px=4, logit_stride_px=4, reach_px=bound)
    assert 0.9 * bound < measured_within_bound(chain.bytes(), spec) <= bound
