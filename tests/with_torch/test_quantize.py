"""Calibration and the quantised graphs: what is in them, and that the fast forms are the same network."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import exported
from onnx import numpy_helper
from quantized import FEW, demo, gate_tiles, ranges, reference

from hfd_edge.engine.graph_scan import check_graph, scan
from hfd_edge.errors import ExportError
from hfd_edge.export import quantize_cpu
from hfd_edge.export.calibration import Ranges, calibrate
from hfd_edge.export.parity import compare, open_session
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_head import head_of
from hfd_edge.export.quantize_layout import attributes_of, prepare
from hfd_edge.export.quantize_options import Int8Options, quantisable
from hfd_edge.export.quantize_sensitivity import int8_that_passes, sensitivity
from hfd_edge.export.quantize_trt import to_fp16_trt, to_int8_trt
from hfd_edge.export.verify import judge, runner


def tile(side=64, seed=0):
    return np.random.default_rng(seed).standard_normal((2, side, side)).astype(np.float32)


def constants(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def makers(model):
    return {name: node for node in model.graph.node for name in node.output}


def prepared(graph):
    """The graph after both rewrites, and the ranges of its tensors."""
    model, tensors = onnx.load_from_string(graph), dict(calibrate(graph, [tile()]).tensors)
    prepare(model, tensors, {})
    return model, tensors


@pytest.mark.parametrize("variant", [("resnet18", 8, "local"), ("regnetx_002", 16, "local")], ids=lambda v: v[0])
def test_a_stem_in_cells_and_groups_in_chunks_give_the_same_logits(variant):
    _, graph = exported(*variant)
    model, tensors = prepared(graph)
    assert "SpaceToDepth" in {node.op_type for node in model.graph.node}
    new = {name for node in model.graph.node for name in node.output if node.op_type in ("Conv", "Relu", "Split")}
    assert new <= {*tensors}
    for pixels in (tile(64)[None], np.stack([tile(96, 1), tile(96, 2)])):
        expected = runner(graph)(pixels)
        assert np.abs(runner(model.SerializeToString())(pixels) - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def test_pixels_are_quantised_once_as_cells():
    fast = onnx.load_from_string(to_int8_cpu(demo()[0], ranges(), Int8Options()))
    cells, = (node for node in fast.graph.node if node.op_type == "SpaceToDepth")
    assert cells.input[0] == fast.graph.input[0].name, "a quantisation of the pixels before it would be one for nothing"


def test_weights_that_two_convolutions_share_are_left_alone():
    model = onnx.load_from_string(exported("resnet18", 8, "local")[1])
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.append(onnx.helper.make_node("Identity", [stem.input[1]], ["again"], name="again"))
    graph = model.SerializeToString()
    assert "SpaceToDepth" not in {n.op_type for n in prepared(graph)[0].graph.node}


def test_grouped_convolutions_are_dense_at_load_and_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(quantize_cpu, "head_as_product", lambda *_: None)
    graph, small = demo()[0], gate_tiles()[0].pixels[None, :, :256, :256]
    fast, plain = (to_int8_cpu(graph, ranges(), Int8Options(fast_layout=on)) for on in (True, False))
    assert any(attributes_of(n).get("group", 1) > 1 for n in onnx.load_from_string(plain).graph.node if n.op_type == "Conv")
    assert all(attributes_of(n).get("group", 1) == 1 for n in onnx.load_from_string(fast).graph.node if n.op_type == "Conv")
    assert np.array_equal(runner(fast)(np.ascontiguousarray(small)), runner(plain)(np.ascontiguousarray(small)))
    assert len(fast) <= 1.05 * len(plain)


@pytest.mark.parametrize("method", ["minmax", "percentile"])         # entropy cuts large logits: IoU of one class -1 point
def test_int8_for_the_cpu_flips_under_one_percent_and_is_a_third_of_the_size(method):
    graph = demo()[0]
    made = to_int8_cpu(graph, ranges(method))
    check_graph(scan(made, method))
    result = judge(reference(), "graph-int8-cpu.onnx", made, gate_tiles(), FEW)
    assert result.passed, result.failures
    assert len(made) <= len(graph) / 3


def test_seven_bit_weights_cannot_saturate_where_two_products_are_added_in_sixteen_bits():
    for bits, fits in ((7, True), (8, False)):
        model = onnx.load_from_string(to_int8_cpu(demo()[0], ranges(), Int8Options(weight_bits=bits)))
        stored = [v for v in constants(model).values() if v.dtype == np.int8 and v.ndim > 1]
        largest = max(int(np.abs(v.astype(int)).max()) for v in stored)
        assert (255 * 2 * largest <= 32767) == fits
    with pytest.raises(ExportError, match="weight_bits=4"):
        to_int8_cpu(demo()[0], ranges(), Int8Options(weight_bits=4))


SUMS_WIDE = bool(re.search(r"avx512_vnni|avx_vnni|asimddp", Path("/proc/cpuinfo").read_text()))
NEEDS_VNNI = pytest.mark.skipif(not SUMS_WIDE, reason="8-bit weights are wrong on a processor without VNNI, as the export says")


@pytest.mark.parametrize("bits, error", [pytest.param(8, 2e-5, marks=NEEDS_VNNI), (7, 1e-4)])
def test_the_head_as_a_product_of_whole_numbers_is_as_good_as_in_float(monkeypatch, bits, error):
    graph, pixels = demo()[0], np.ascontiguousarray(gate_tiles()[0].pixels[None, :, :256, :256])
    made = to_int8_cpu(graph, ranges(), Int8Options(weight_bits=bits))
    model = onnx.load_from_string(made)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    weights = constants(model)[makers(model)[product.input[1]].input[0]]
    assert weights.dtype == np.int8 and np.abs(weights.astype(int)).max() == {8: 127, 7: 63}[bits]
    found = runner(made)(pixels)
    monkeypatch.setattr(quantize_cpu, "head_as_product", lambda *_: None)
    expected = runner(to_int8_cpu(graph, ranges(), Int8Options(weight_bits=bits)))(pixels)
    assert 0 < np.abs(found - expected).max() <= error * np.abs(expected).max()
    assert (found.argmax(axis=1) != expected.argmax(axis=1)).mean() <= 1e-4


def test_every_result_of_the_int8_graph_is_read():
    model = onnx.load_from_string(to_int8_cpu(demo()[0], ranges(), Int8Options()))
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    assert all(read & {*node.output} for node in model.graph.node)


def test_what_is_kept_stays_float_and_the_head_without_the_fast_layout():
    graph = demo()[0]
    kept = quantisable(graph)[3]
    assert head_of(onnx.load_from_string(graph)) not in quantisable(graph)

    def float_convs(options):
        model = onnx.load_from_string(to_int8_cpu(graph, ranges(), options))
        makes = makers(model)
        return [n for n in model.graph.node if n.op_type == "Conv" and n.input[1] not in makes]
    assert len(float_convs(Int8Options(fast_layout=False))) == 1
    assert len(float_convs(Int8Options(fast_layout=False, keep_float=(kept,)))) == 2
    assert not float_convs(Int8Options()), "the head is a product"
    assert len(float_convs(Int8Options(keep_float=(kept,)))) == 1
    with pytest.raises(ExportError, match="no node of the graph"):
        to_int8_cpu(graph, ranges(), Int8Options(keep_float=("nothing",)))


@pytest.mark.parametrize("fast", [True, False], ids=["fast layout", "plain"])
def test_what_is_kept_in_float_is_not_rounded_again_by_the_engines_optimiser(fast, monkeypatch):
    """ONNX Runtime rounds float weights between a scalar Q/DQ to one scale per tensor; a channel of large weights shows it."""
    model = onnx.load_from_string(exported("efficientnet_lite0", 16, "local")[1])
    name = quantisable(model.SerializeToString())[1]
    weights = next(t for t in model.graph.initializer if t.name == f"{name}.weight")
    values = numpy_helper.to_array(weights).copy()
    values[0] *= 300
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    graph, pixels = model.SerializeToString(), tile()
    made = calibrate(graph, [pixels])

    def wander():
        data = to_int8_cpu(graph, made, Int8Options(keep_float=(name,), fast_layout=fast))
        first, second = (open_session(data, optimised=on).run(None, {"pixels": pixels[None]})[0] for on in (True, False))
        return float(np.sqrt(np.mean((first - second) ** 2)) / second.std())
    kept = wander()                                     # kernels round differently where values lie between two levels
    monkeypatch.setattr(quantize_cpu, "_keep_weights_float", lambda model: None)
    assert kept < 0.1 and wander() > 4 * kept


def test_sensitivity_quantises_a_convolution_with_the_range_behind_its_activation():
    """With the range before the Relu, which is several times as wide, the most harmless convolution would look harmful."""
    graph = demo()[0]
    name = quantisable(graph)[0]
    model = onnx.load_from_string(to_int8_cpu(graph, ranges(), Int8Options(only=name, fast_layout=False)))
    values = constants(model)
    scales = {float(values[node.input[1]]) for node in model.graph.node
              if node.op_type == "QuantizeLinear" and values[node.input[1]].ndim == 0}
    plain = onnx.load_from_string(graph)
    made = next(node.output[0] for node in plain.graph.node if node.name == name)
    relu = next(node.output[0] for node in plain.graph.node if made in node.input)
    assert any(abs(scale - ranges().tensors[relu][1] / 255) < 1e-6 for scale in scales)
    low, high = ranges().tensors[made]
    assert not any(abs(scale - (high - low) / 255) < 1e-6 for scale in scales)


def test_int8_for_tensorrt_is_signed_symmetric_and_leaves_convolution_outputs_and_biases_alone():
    model = onnx.load_from_string(to_int8_trt(demo()[0], ranges()))
    values, makes = constants(model), makers(model)
    check_graph(scan(model.SerializeToString()))
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any()
        if node.op_type == "QuantizeLinear" and node.input[0] in makes:
            source = makes[node.input[0]]
            assert source.op_type != "Conv" or any(
                node.output[0] in other.input for other in model.graph.node if "residual" in other.name), node.name
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    quantised = [node for node in convs if node.input[1] in makes]
    assert len(quantised) == len(convs) - 1 and convs[-1].input[1] in values
    assert all(values[name].dtype == np.float32 for node in convs for name in node.input[2:])
    fed = [n for n in model.graph.node
           if n.op_type == "Add" and any(i in makes and makes[i].op_type == "Conv" for i in n.input)]
    assert fed
    for node in fed:
        assert sorted(makes[i].op_type for i in node.input) == ["Conv", "DequantizeLinear"], node.name


def test_fp16_keeps_grids_and_wide_values_in_float():
    _, graph = exported("resnet18", 16, "flow")
    made = calibrate(graph, [tile()])
    model = onnx.load_from_string(to_fp16_trt(graph, made))
    makes = makers(model)
    samplers = [node for node in model.graph.node if node.op_type == "GridSample"]
    assert samplers
    for node in samplers:
        for name in node.input:
            assert makes[name].op_type == "Cast" and attributes_of(makes[name])["to"] == onnx.TensorProto.FLOAT \
                or makes[name].op_type in ("Concat", "Unsqueeze"), (node.name, makes[name].op_type)
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [onnx.TensorProto.FLOAT] * 2
    expected = runner(graph)(tile()[None])
    assert np.abs(runner(model.SerializeToString())(tile()[None]) - expected).max() <= 0.05 * np.abs(expected).max()
    wide = {**made.tensors, head_output(graph): (-1e5, 1e5)}
    other = onnx.load_from_string(to_fp16_trt(graph, replace(made, tensors=wide)))
    kept = constants(other)[next(n for n in other.graph.node if n.name == head_of(onnx.load_from_string(graph))).input[1]]
    assert kept.dtype == np.float32


def detours(model):
    """Casts back to float32 of what a cast to half precision made of a float32 tensor: rounded for nothing."""
    makes = makers(model)
    known = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*known.value_info, *known.input)}
    halves = [n for n in model.graph.node if n.op_type == "Cast" and attributes_of(n)["to"] == onnx.TensorProto.FLOAT16
              and types[n.input[0]] == onnx.TensorProto.FLOAT]
    return [n for n in model.graph.node if n.op_type == "Cast" and attributes_of(n)["to"] == onnx.TensorProto.FLOAT and makes.get(n.input[0]) in halves]


def test_what_stays_float_in_the_fp16_graph_is_not_rounded_to_half_between():
    _, graph = exported("resnet18", 16, "flow")
    made = calibrate(graph, [tile()])
    wide = {name: (-1e5, 1e5) for name in made.tensors}
    for tensors in (made.tensors, wide):
        model = onnx.load_from_string(to_fp16_trt(graph, replace(made, tensors=tensors)))
        onnx.checker.check_model(model, full_check=True)
        assert not detours(model) and [value.name for value in model.graph.output] == ["logits"]
    assert all(tensor.data_type != onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    np.testing.assert_array_equal(runner(model.SerializeToString())(tile()[None]), runner(graph)(tile()[None]))


def head_output(graph):
    model = onnx.load_from_string(graph)
    return next(n for n in model.graph.node if n.name == head_of(model)).output[0]


def test_sensitivity_names_the_convolution_whose_range_is_wrong_and_keeping_it_passes():
    graph = demo()[0]
    victim = next(n for n in onnx.load_from_string(graph).graph.node if n.name == quantisable(graph)[-1])
    spoilt = replace(ranges(), tensors={**ranges().tensors, victim.input[0]: (0.0, 0.02)})
    small = [gate_tiles()[0].pixels[:, :128, :128].copy()]
    assert next(iter(sensitivity(graph, spoilt, small))) == victim.name
    tiles = gate_tiles()

    def gate(made):
        return compare(reference(), runner(made), [replace(t, labels=None) for t in tiles], FEW)
    for make in (lambda kept: to_int8_cpu(graph, spoilt, Int8Options(keep_float=kept)), lambda kept: to_int8_trt(graph, spoilt, kept)):
        made = int8_that_passes(make, gate, lambda: sensitivity(graph, spoilt, small))
        assert made.result.passed and victim.name in made.kept and len(made.kept) <= 4
    plain = int8_that_passes(lambda kept: to_int8_cpu(graph, ranges(), Int8Options(keep_float=kept)), gate, lambda: pytest.fail("nothing to rank"))
    assert plain.result.passed and not plain.kept


def test_calibrators_cut_an_outlier_and_min_max_does_not():
    pixels = tile(64)
    pixels[0, 5, 5] = 400.0
    graph = exported("resnet10t", 16, "none")[1]
    high = {method: calibrate(graph, [pixels], method).tensors["pixels"][1] for method in ("minmax", "entropy")}
    assert high["minmax"] == 400.0 and high["entropy"] < 300.0
    many = [pixels, *(tile(256, seed) for seed in range(4))]
    assert calibrate(graph, many, "percentile").tensors["pixels"][1] < 400.0


def test_ranges_travel_as_json_and_belong_to_one_graph():
    again = Ranges.from_dict(ranges().to_dict())
    assert again == ranges() and again.tiles == 3 and len(again.data_sha256) == 64
    with pytest.raises(ExportError, match="calibrate again with this graph"):
        to_int8_cpu(exported("resnet10t", 16, "none")[1], again)
    with pytest.raises(ExportError, match="cannot be read"):
        Ranges.from_dict({"tensors": 3})


@pytest.mark.parametrize(("tiles", "method", "words"), [
    ([], "minmax", "never from random numbers"),
    ([np.zeros((3, 64, 64), np.float32)], "minmax", "of the bands it was trained on"),
    ([np.zeros((2, 64, 64))], "minmax", "float64"), ([np.full((2, 64, 64), np.nan, np.float32)], "minmax", "not finite"),
    ([np.zeros((2, 64, 64), np.float32)], "guess", "use one of minmax, percentile, entropy")])
def test_calibration_refuses_what_cannot_serve(tiles, method, words):
    with pytest.raises(ExportError, match=words):
        calibrate(exported("resnet10t", 16, "none")[1], tiles, method)
