"""The look into an ONNX file: the same as onnx gives, and one clear line for every graph that is not run."""

import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, helper

from hfd_edge.engine.graph_scan import MAX_DEPTH, TensorInfo, check_graph, scan
from hfd_edge.errors import EngineError

MAKE = runpy.run_path(str(Path(__file__).parent / "golden" / "make_golden.py"))
FLOAT = TensorProto.FLOAT
WEIGHT = helper.make_tensor("weight", FLOAT, (2,), [1.0, 2.0])


def value(name, shape=("n", 2, "h", "w")):
    return helper.make_tensor_value_info(name, FLOAT, shape)


def model(nodes, initializers=(), opsets=(("", 18),), ir=10, inputs=None, **more):
    graph = helper.make_graph(nodes, "g", inputs or [value("x")], [value("y")], list(initializers))
    return helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid(*pair) for pair in opsets], **more)


def node(operator="Relu", **more):
    return helper.make_node(operator, ["x"], ["y"], **more)


def scanned(proto):
    return scan(proto.SerializeToString(), "graph-fp32.onnx")


def refuse(proto, message):
    with pytest.raises(EngineError, match=message) as caught:
        check_graph(scanned(proto))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def external(name="weight", location="../weights.bin"):
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return tensor


def subgraph(operator="Relu", initializers=()):
    return helper.make_graph([helper.make_node(operator, ["a"], ["b"])], "inner", [], [value("b")], list(initializers))


def test_the_golden_graph_passes_and_says_what_it_is():
    found = scan(MAKE["graph"](), "graph-fp32.onnx")
    check_graph(found)
    assert (found.ir_version, found.opset, found.opsets) == (8, 18, {"": 18})
    assert found.op_types == {"AveragePool": 1, "Conv": 1}
    assert found.inputs == (TensorInfo("input", FLOAT, ("n", 2, "h", "w")),)
    assert found.outputs == (TensorInfo("logits", FLOAT, ("n", 3, "h2", "w2")),)
    assert (found.external_data, found.functions, found.training) == ([], (), False)


def test_every_domain_and_operator_is_counted_also_in_subgraphs_and_functions():
    nodes = [node(), node("Relu"), node("Fancy", domain="my.ops"), node("Conv", domain="ai.onnx"),
             node("If", then_branch=subgraph("Neg"), else_branch=subgraph("Abs"))]
    function = helper.make_function("mine", "Swish", ["x"], ["y"], [node("Sigmoid"), node("Scan", body=subgraph("Exp"))],
                                    [helper.make_opsetid("", 18)])
    found = scanned(model(nodes, functions=[function], opsets=(("ai.onnx", 18), ("my.ops", 3))))
    assert found.op_types == Counter(["Relu", "Relu", "my.ops:Fancy", "Conv", "If", "Neg", "Abs", "Sigmoid", "Scan", "Exp"])
    assert found.opsets == {"": 18, "my.ops": 3}
    assert found.functions == ("mine:Swish",)


def test_initializers_are_no_inputs_and_shapes_may_be_missing():
    bare = ValueInfoProto(name="x")
    found = scanned(model([node()], [WEIGHT], inputs=[bare, value("weight", (2,)), value("z", (None, 3))]))
    assert found.inputs == (TensorInfo("x", 0, None), TensorInfo("z", FLOAT, (None, 3)))


@pytest.mark.parametrize("nodes, initializers", [
    ([node()], [external()]),
    ([node()], [external(location=None)]),
    ([helper.make_node("Constant", [], ["y"], value=external())], []),
    ([node("If", then_branch=subgraph(initializers=[external()]), else_branch=subgraph())], []),
    ([node("Constant", sparse_value=helper.make_sparse_tensor(WEIGHT, external("i"), [2]))], []),
    ([helper.make_node("Relu", ["x"], ["y"], many=[WEIGHT, external()])], []),
])
def test_external_data_is_found_wherever_a_tensor_can_stand(nodes, initializers):
    refuse(model(nodes, initializers), "keeps weights in another file.*save it without external data")


def test_external_data_that_does_not_say_so_is_found():
    tensor = external()
    tensor.ClearField("data_location")
    assert scanned(model([node()], [tensor])).external_data == ["../weights.bin"]


@pytest.mark.parametrize("proto, message", [
    (model([node("Fancy", domain="my.ops")], opsets=(("", 18), ("my.ops", 1))), "operators of domain 'my.ops'"),
    (model([node("EPContext", domain="com.microsoft")]), "operators of domain 'com.microsoft'"),
    (model([node("NonMaxSuppression")]), "operators 'NonMaxSuppression'"),
    (model([node("InstanceNormalization")]), "operators 'InstanceNormalization'"),
    (model([node("If", then_branch=subgraph(), else_branch=subgraph())]), "operators 'If'"),
    (model([node("Bad\nName\x1b")]), r"operators 'Bad\\nName\\x1b'"),
    (model([node()], opsets=(("", 19),)), "opset 19: engines in use read 1 to 18; export with opset 18"),
    (model([node("GridSample")], opsets=(("", 20),)), "GridSample of opset 20.*4646"),
    (model([node()], opsets=(("my.ops", 1),)), "opset 0"),
    (model([node()], ir=11), "IR version 11"),
    (model([node()], ir=0), "IR version 0"),
    (model([node()], functions=[helper.make_function("mine", "F", ["x"], ["y"], [node()], [helper.make_opsetid("", 18)])]),
     "local functions .'mine:F'"),
    (model([node(f"Op{i}") for i in range(9)]), "'Op4' and 4 more"),
])
def test_a_graph_that_is_not_run_is_refused_in_one_line(proto, message):
    refuse(proto, message)


def test_training_graphs_are_refused():
    proto = model([node()])
    proto.training_info.add().algorithm.node.add(op_type="Neg")
    assert scanned(proto).op_types == {"Relu": 1, "Neg": 1}
    refuse(proto, "training graphs")


def test_grid_sample_of_opset_18_passes():
    check_graph(scanned(model([node("GridSample")])))


def test_an_operator_set_imported_in_two_versions_is_refused():
    with pytest.raises(EngineError, match="in versions 18 and 20"):
        scanned(model([node()], opsets=(("", 18), ("ai.onnx", 20))))


def test_a_colon_cannot_pass_an_operator_off_as_another():
    with pytest.raises(EngineError, match="colon"):
        scanned(model([node(":Relu")]))


def nested(depth):
    graph = subgraph()
    for _ in range(depth):
        attribute = AttributeProto(name="body", type=AttributeProto.GRAPH, g=graph)
        graph = helper.make_graph([], "g", [], [])
        graph.node.add(op_type="Loop").attribute.append(attribute)
    proto = ModelProto(ir_version=10)
    proto.graph.CopyFrom(graph)
    return proto


def test_nesting_is_bounded():
    assert scanned(nested(MAX_DEPTH)).op_types == {"Loop": MAX_DEPTH, "Relu": 1}
    with pytest.raises(EngineError, match=f"more than {MAX_DEPTH} deep"):
        scanned(nested(MAX_DEPTH + 1))


def test_work_is_bounded(monkeypatch):
    monkeypatch.setattr("hfd_edge.engine.graph_scan.MAX_FIELDS", 10)
    with pytest.raises(EngineError, match="more than 10 fields"):
        scan(MAKE["graph"]())


@pytest.mark.parametrize("data, message", [
    (b"", "no graph"),
    (b"\x08\x08", "no graph"),
    (b"\x3a\x7f", "wants 127 bytes"),
    (b"\x3a" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
    (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
    (b"\x08\x80", "cut off"),
    (b"\x00\x00", "field number 0"),
    (b"\x3b\x3c", "wire type 3"),
    (b"\x38\x01", "wire type 0 or stands twice"),
    (b"\x3a\x00\x3a\x00", "stands twice"),
    (b"\x08\x0a\x08\x0b\x3a\x00", "stands twice"),
    (b"\x3a\x04\x0a\x02\x22\x00\xff", "cut off"),
    (b"\x3a\x07\x0a\x05\x22\x03\xff\xfe\xfd", "not UTF-8"),
    (b"not a model at all", "cannot be read as ONNX"),
    (b"ftrt" + bytes(60), "cannot be read as ONNX"),
])
def test_bytes_that_are_no_model_are_refused(data, message):
    with pytest.raises(EngineError, match=message) as caught:
        scan(data, "graph-fp32.onnx")
    assert str(caught.value).startswith("graph-fp32.onnx cannot be read as ONNX: ")


FUNCTION = helper.make_function("f", "F", ["x"], ["y"], [node()], [helper.make_opsetid("", 18)])
BRANCHES = node("If", then_branch=subgraph("Neg"), else_branch=subgraph("Abs", [external()]))
RICH = model([BRANCHES, node(domain="my.ops")], [WEIGHT], functions=[FUNCTION]).SerializeToString()


def read_or_refuse(data):
    try:
        check_graph(scan(data))
    except EngineError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, len(RICH) - 1), st.integers(1, 255)), max_size=6),
       cut=st.none() | st.integers(0, len(RICH)), tail=st.binary(max_size=12))
def test_damaged_models_never_crash_the_scan(flips, cut, tail):
    data = bytearray(RICH)
    for at, change in flips:
        data[at] ^= change
    read_or_refuse(bytes(data)[:cut] + tail)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash_the_scan(data):
    read_or_refuse(data)
    read_or_refuse(b"\x3a" + bytes([min(len(data), 127)]) + data)
