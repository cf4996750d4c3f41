"""Graphs for TensorRT: our own check and TensorRT-RTX's parser and builder agree, and ours sees what the parser lets pass."""

import numpy as np
import onnx
import pytest
from networks import BANDS, exported
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from hfd_edge.errors import EngineError, ExportError
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.legality import check_trt, inspect_trt
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_trt import to_fp16_trt, to_int8_trt
from tests.foreign_networks import deeplab, unet
from tests.tensorrt_rtx_build import build, type_warnings

NETWORKS = ("flow", "local", "lite0", "deeplab")
TILE_PX = 64


@pytest.fixture(scope="module")
def graphs():
    """By network: FP32, FP16 and INT8 for TensorRT, INT8 for the CPU."""
    floats = {"flow": exported("resnet18", 16, "flow")[1], "local": exported("resnet18", 8, "local")[1],
              "lite0": exported("efficientnet_lite0", 16, "local")[1], "deeplab": _packaged(deeplab())}
    tiles = [np.random.default_rng(i).normal(size=(BANDS, TILE_PX, TILE_PX)).astype(np.float32) for i in range(3)]
    made = {}
    for name, graph in floats.items():
        ranges = calibrate(graph, tiles)
        made[name] = {"fp32": graph, "fp16": to_fp16_trt(graph, ranges), "int8": to_int8_trt(graph, ranges),
                      "cpu": to_int8_cpu(graph, ranges)}
    return made


def _packaged(model):
    from hfd_edge.export.foreign_network import prepare_network
    return prepare_network(model, "net", False).graph


@pytest.mark.needs_tensorrt_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_graph_for_tensorrt_is_legal_parses_and_builds_without_a_word_about_types(graphs, network, precision):
    graph = graphs[network][precision]
    found = check_trt(graph, f"{network} {precision}")
    assert (found.int8_convolutions > 0.8 * found.convolutions - 1) == (precision == "int8"), found
    plan, lines = build(graph, TILE_PX)
    assert plan and len(plan) > 1000 and not type_warnings(lines), lines


@pytest.mark.parametrize("network", NETWORKS)
def test_the_graph_for_the_cpu_is_refused_by_name(graphs, network):
    with pytest.raises(ExportError, match="uint8.*cuts at 127"):
        check_trt(graphs[network]["cpu"], "graph-int8-cpu.onnx")


def unsigned_with_zero_point_0(graph):
    """Every activation pair uint8 with zero point 0, as after a ReLU: the file that TensorRT only warns about."""
    model = onnx.load_from_string(graph)
    weights = {t.name for t in model.graph.initializer}
    stored = {n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in weights}
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "unsigned_zero"))
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in stored or node.op_type == "DequantizeLinear" and node.input[0] in stored:
            node.input[2] = "unsigned_zero"
    del model.graph.value_info[:]
    return model.SerializeToString()


@pytest.mark.needs_tensorrt_rtx
def test_unsigned_activations_with_zero_point_0_are_refused_by_us_while_tensorrt_only_warns(graphs):
    trap = unsigned_with_zero_point_0(graphs["local"]["int8"])
    with pytest.raises(ExportError, match="zero point that is uint8.*only warns, reads it as int8 and cuts at 127"):
        check_trt(trap, "graph-int8-trt.onnx")
    plan, lines = build(trap, TILE_PX)
    assert type_warnings(lines), f"TensorRT no longer says a word: {lines}"
    assert plan, "TensorRT now refuses it itself: our check may go"


class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = 2

    def get_next(self):
        self.left -= 1
        return {"pixels": np.random.default_rng(self.left).normal(size=(1, 2, 64, 64)).astype(np.float32)} if self.left >= 0 else None


@pytest.mark.parametrize("changes, word", [
    ({"activation_type": QuantType.QUInt8}, "uint8"), ({"bias": True}, "a bias: it must stay float"), ({"outputs": True}, "is not quantised"),
    ({"symmetric": False}, "zero point .*only 0 is legal"), ({}, None)])
def test_what_onnxruntime_makes_with_a_wrong_setting_is_refused(changes, word, tmp_path):
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    source.write_bytes(_packaged(unet()))
    extra = {"ActivationSymmetric": changes.get("symmetric", True), "WeightSymmetric": True, "QuantizeBias": changes.get("bias", False)}
    extra |= {} if changes.get("outputs") else {"OpTypesToExcludeOutputQuantization": ["Conv"]}
    quantize_static(source, target, Reader(), QuantFormat.QDQ, activation_type=changes.get("activation_type", QuantType.QInt8),
                    weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["Conv"], extra_options=extra)
    model = onnx.load(target)
    model.ir_version = min(model.ir_version, 10)
    del model.opset_import[1:]
    graph = model.SerializeToString()
    if word is None:
        assert not inspect_trt(graph, "good").problems
    else:
        with pytest.raises(ExportError, match=word):
            check_trt(graph, "bad")


def edited(graph, change):
    model = onnx.load_from_string(graph)
    change(model)
    return model.SerializeToString()


def first(model, op):
    return next(node for node in model.graph.node if node.op_type == op)


def without_zero_point(model):
    del first(model, "QuantizeLinear").input[2:]


def computed_scale(model):
    node = first(model, "QuantizeLinear")
    model.graph.node.insert(0, helper.make_node("Abs", [node.input[1]], ["computed"]))
    node.input[1] = "computed"


def negative_scale(model):
    name = first(model, "QuantizeLinear").input[1]
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), name))


def wrong_axis(model):
    weights = {t.name: t for t in model.graph.initializer}
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights)
    next(a for a in node.attribute if a.name == "axis").i = 1


def float_weight(model):
    conv = first(model, "Conv")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 2, 3, 3), np.float32), "plain"))
    conv.input[1] = "plain"


def stray_quantize(model):
    node = first(model, "QuantizeLinear")
    model.graph.node.append(helper.make_node("QuantizeLinear", list(node.input), ["stray"], name="stray"))


@pytest.mark.parametrize("change, word", [
    (without_zero_point, "no zero point: it then is uint8"), (computed_scale, "scale that is not constant"),
    (negative_scale, "scale that is not constant, finite and above 0"), (wrong_axis, "axis 1"),
    (float_weight, "both or neither"), (stray_quantize, "read by nobody")])
def test_each_rule_is_checked(graphs, change, word):
    with pytest.raises(ExportError, match=word):
        check_trt(edited(graphs["deeplab"]["int8"], change), "edited")


def test_new_operator_sets_and_half_precision_sampling_are_refused(graphs):
    def opset20(model):
        model.opset_import[0].version = 20
    with pytest.raises(EngineError, match="GridSample of opset 20"):
        check_trt(edited(graphs["flow"]["fp32"], opset20), "new")

    def ir11(model):
        model.ir_version = 11
    with pytest.raises(EngineError, match="IR version 11"):
        check_trt(edited(graphs["local"]["fp32"], ir11), "new")

    model = onnx.load_from_string(graphs["flow"]["fp32"])
    node = first(model, "GridSample")
    at = list(model.graph.node).index(node)
    model.graph.node.insert(at, helper.make_node("Cast", [node.input[0]], ["half_x"], to=TensorProto.FLOAT16))
    model.graph.node.insert(at, helper.make_node("Cast", [node.input[1]], ["half_g"], to=TensorProto.FLOAT16))
    model.graph.node[at + 2].input[:] = ["half_x", "half_g"]
    assert any("half precision" in problem for problem in inspect_trt(model.SerializeToString(), "half").problems)
