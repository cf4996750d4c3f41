"""The INT8 graphs hold weights rounded by what their convolutions read, and flip fewer labels for it."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantized import demo, gate_tiles, ranges, reference, scene

from hfd_edge.export.calibration import Ranges, calibrate
from hfd_edge.export.calibration_data import tiles_of
from hfd_edge.export.onnx import INPUT_NAME
from hfd_edge.export.parity import compare
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_trt import to_int8_trt
from hfd_edge.export.quantize_options import Int8Options, quantisable
from hfd_edge.export.quantize_head import head_of
from hfd_edge.export.quantize_rounding import round_weights
from hfd_edge.export.session import open_session
from hfd_edge.export.verify import runner

pytestmark = pytest.mark.torch


def logits_error(graph):
    """Root mean square difference of the logits from the float graph's, over tiles that calibration did not see.

    Node by node, in float: products of bytes with 8-bit weights saturate on a processor with AVX2 and no VNNI, which hides what rounding does.
    """
    tiles, session = gate_tiles(), open_session(graph, optimised=False)
    return np.sqrt(np.mean([np.mean((session.run(None, {INPUT_NAME: tile.pixels[None]})[0] - reference()(tile.pixels[None])) ** 2) for tile in tiles]))


@pytest.mark.parametrize("make", [lambda *a: to_int8_cpu(*a, Int8Options(weight_bits=7)), lambda *a: to_int8_cpu(*a, Int8Options(weight_bits=8)), to_int8_trt],
                         ids=["cpu, 7 bits", "cpu, 8 bits", "tensorrt"])
def test_logits_are_nearer_than_with_weights_rounded_to_the_nearest(make):
    graph, seen = demo()[0], ranges("percentile")
    assert logits_error(make(graph, seen)) < 0.97 * logits_error(make(graph, replace(seen, reads={})))


def test_with_seven_bits_fewer_labels_flip():
    graph, seen = demo()[0], ranges("percentile")
    tiles = list(tiles_of([scene(number, 640) for number in (1, 3, 5, 7)], demo()[1], 512))        # of one alone hardly 60 labels flip
    rates = [compare(reference(), runner(to_int8_cpu(graph, own)), tiles).flip_rate
             for own in (seen, replace(seen, reads={}))]
    assert 0 < rates[0] < 0.95 * rates[1]


def stored_weights(graph):
    """Every int8 array of a graph, by its bytes."""
    return {numpy_helper.to_array(t).tobytes() for t in onnx.load_from_string(graph).graph.initializer if t.data_type == onnx.TensorProto.INT8}


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_the_graph_stores_the_numbers_that_were_decided(target):
    graph, seen = demo()[0], ranges()
    model, bits = onnx.load_from_string(graph), 7 if target == "cpu" else 8
    steps = round_weights(model, seen.reads, bits, {head_of(model)})
    assert {*steps} == {node.input[1] for node in model.graph.node if node.op_type == "Conv" and node.name != head_of(model)}
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    whole = [np.rint(weights[name] / step[:, None, None, None]).astype(np.int8).tobytes() for name, step in steps.items()]
    made = to_int8_cpu(graph, seen, Int8Options(fast_layout=False)) if target == "cpu" else to_int8_trt(graph, seen)
    assert {*whole} <= stored_weights(made)
    assert not {*whole} <= stored_weights(to_int8_cpu(graph, replace(seen, reads={}), Int8Options(fast_layout=False)))


def test_what_is_kept_in_float_keeps_its_weights():
    graph, seen = demo()[0], ranges()
    name = quantisable(graph)[1]
    made = onnx.load_from_string(to_int8_cpu(graph, seen, Int8Options(keep_float=(name,), fast_layout=False)))
    node = next(node for node in onnx.load_from_string(graph).graph.node if node.name == name)
    weights = next(numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer if t.name == node.input[1])
    assert weights.tobytes() in {numpy_helper.to_array(t).tobytes() for t in made.graph.initializer}


def test_two_calibrations_give_the_same_bytes_and_the_record_has_no_reads():
    graph, tiles = demo()[0], list(tiles_of([scene(0)], demo()[1], 256, 2))
    both = [calibrate(graph, [tile.pixels for tile in tiles], statuses=[tile.status for tile in tiles]) for _ in range(2)]
    assert to_int8_cpu(graph, both[0]) == to_int8_cpu(graph, both[1])
    assert both[0].reads and "reads" not in both[0].to_dict() and Ranges.from_dict(both[0].to_dict()) == both[0]
