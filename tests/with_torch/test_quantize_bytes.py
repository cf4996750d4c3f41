"""Passes over a quantised graph: bytes stay bytes through Pad and Slice, and what a Concat joins is rounded once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantized import demo, gate_tiles, ranges

from hfd_edge.export import quantize_cpu
from hfd_edge.export.quantize_bytes import carry_bytes, round_once
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_options import Int8Options
from hfd_edge.export.verify import runner

STEP, ZERO = np.float32(0.02), np.uint8(37)
PIXELS = np.random.default_rng(5).uniform(-0.7, 4.3, (1, 3, 6, 8)).astype(np.float32)


def graph_of(nodes, arrays):
    """A graph of an image, where "q(NAME)" and "d(NAME)" are its quantisation and dequantisation by STEP and ZERO."""
    arrays = {"step": STEP, "zero": ZERO, **arrays}
    model = helper.make_model(helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 6, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def constants_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def pair(given, made, step="step", zero="zero"):
    return [helper.make_node("QuantizeLinear", [given, step, zero], [f"{made}/q"], name=f"{made}/q"),
            helper.make_node("DequantizeLinear", [f"{made}/q", step, zero], [made], name=made)]


def shifted(fill=None, mode="constant", step=STEP, zero=ZERO):
    """The image, padded by one, a slice of it times the image, quantised by a step at which no product falls halfway between two bytes."""
    arrays = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "first": np.array([0]), "last": np.array([6]), "rows": np.array([2]),
              "step": step, "zero": zero, **({} if fill is None else {"fill": np.float32(fill)})}
    return graph_of([*pair("image", "a"),
                     helper.make_node("Pad", ["a", "pads", *(["fill"] if fill is not None else [])], ["padded"], mode=mode),
                     helper.make_node("Slice", ["padded", "first", "last", "rows"], ["cut"]),
                     helper.make_node("Pad", ["a", "sides"], ["wide"], mode=mode), helper.make_node("Mul", ["cut", "wide"], ["product"]),
                     *pair("product", "logits", "odd")], {**arrays, "odd": np.float32(0.0237), "sides": np.array([0, 0, 0, 1, 0, 0, 0, 1])})


def kinds(model):
    """Element types by name of tensors."""
    found = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in found.graph.value_info}


@pytest.mark.parametrize("given", [{}, {"fill": 0.0}, {"mode": "edge"}, {"mode": "reflect"}], ids=str)
def test_padded_and_sliced_pixels_move_as_bytes_with_the_same_bits(given):
    model = shifted(**given)
    expected = runner(model.SerializeToString())(PIXELS)
    carry_bytes(model)
    onnx.checker.check_model(model)
    moved = [node.output[0] for node in model.graph.node if node.op_type in ("Pad", "Slice")]
    assert len(moved) == 3 and {kinds(model)[name] for name in moved} == {TensorProto.UINT8}
    assert np.array_equal(runner(model.SerializeToString())(PIXELS), expected)


def test_a_byte_that_is_zero_but_not_the_byte_of_zero_would_show():
    model = shifted()
    expected = runner(model.SerializeToString())(PIXELS)
    carry_bytes(model)
    for node in model.graph.node:
        if node.op_type == "Pad":
            del node.input[2:]
    assert not np.array_equal(runner(model.SerializeToString())(PIXELS), expected)


@pytest.mark.parametrize("given", [{"fill": 1.5}, {"step": np.full(3, STEP), "zero": np.full(3, ZERO)}], ids=["another number", "steps by channel"])
def test_what_has_no_byte_of_its_own_stays_float(given):
    model = shifted(**given)
    carry_bytes(model)
    first = next(node for node in model.graph.node if node.op_type == "Pad")
    assert kinds(model)[first.output[0]] == TensorProto.FLOAT


def joined(*, read_twice=False):
    """The image by a fine step and three times the image by a coarse one, joined and quantised by a step of their own."""
    nodes = [*pair("image", "a", "fine"), helper.make_node("Mul", ["image", "three"], ["b0"]), *pair("b0", "b", "coarse"),
             helper.make_node("Concat", ["a", "b"], ["both"], axis=1), *pair("both", "whole", "common"),
             helper.make_node("Identity" if not read_twice else "Concat", ["whole", *(["a"] if read_twice else [])], ["logits"],
                              **({"axis": 1} if read_twice else {}))]
    return graph_of(nodes, {"three": np.float32(3), "fine": np.float32(0.017), "coarse": np.float32(0.055), "common": np.float32(0.06)})


def test_what_is_joined_is_rounded_once():
    model = joined()
    twice = runner(model.SerializeToString())(PIXELS)
    round_once(model)
    once = runner(model.SerializeToString())(PIXELS)
    wanted = np.concatenate([PIXELS, 3 * PIXELS], axis=1)
    inside = (wanted > 0.06 * -37) & (wanted < 0.06 * (255 - 37))
    assert np.abs(once - wanted)[inside].max() <= 0.0301 < np.abs(twice - wanted)[inside].max()


def test_a_tensor_that_others_read_too_keeps_its_step():
    model = joined(read_twice=True)
    round_once(model)
    steps = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert steps == {"a": "fine", "b": "common", "whole": "common"}


def test_bytes_that_are_read_twice_keep_their_step():
    model = joined()
    nodes = [*model.graph.node[:-1], helper.make_node("DequantizeLinear", ["a/q", "fine", "zero"], ["again"]),
             helper.make_node("Concat", ["whole", "again"], ["logits"], axis=1)]
    model = graph_of(nodes, constants_of(model))
    expected = runner(model.SerializeToString())(PIXELS)[:, -3:]
    round_once(model)
    assert np.array_equal(runner(model.SerializeToString())(PIXELS)[:, -3:], expected)


def test_the_demo_student_moves_no_float_and_loses_no_bit(monkeypatch):
    pixels = np.ascontiguousarray(gate_tiles()[0].pixels[None, :, :256, :256])
    fast = to_int8_cpu(demo()[0], ranges(), Int8Options())
    monkeypatch.setattr(quantize_cpu, "carry_bytes", lambda _: None)
    slow = to_int8_cpu(demo()[0], ranges(), Int8Options())
    floats = [sum(kinds(model)[node.output[0]] == TensorProto.FLOAT for node in model.graph.node if node.op_type in ("Pad", "Slice"))
              for model in map(onnx.load_from_string, (fast, slow))]
    assert floats[0] == 0 < floats[1]
    assert np.array_equal(runner(fast)(pixels), runner(slow)(pixels))
