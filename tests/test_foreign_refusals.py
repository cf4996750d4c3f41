"""What is no network for tiles, or no spec: one clear line each, nothing written."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfd_edge.errors import HfdError, SpecError
from hfd_edge.export import foreign_intake
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.export.foreign_spec import EXAMPLE, parse_spec
from tests.command import failed, run
from tests.foreign_networks import BANDS, SPEC, TWO_CLASSES, Foreign, deeplab, save, unet

IMAGE = ["n", BANDS, "h", "w"]


def graph(*nodes, image=IMAGE, kind=TensorProto.FLOAT, out=TensorProto.FLOAT, weights=(), opset=18, **fields):
    """A model of bare nodes from "pixels" to "logits"; not checked, as files from strangers are not."""
    ends = [helper.make_tensor_value_info(n, t, s) for n, t, s in (("pixels", kind, image), ("logits", out, [None] * 4))]
    made = helper.make_graph(list(nodes), "g", [ends[0], *fields.pop("more_inputs", [])], [ends[1], *fields.pop("more_outputs", [])], list(weights))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in fields.pop("domains", ()))]
    return helper.make_model(made, **{"opset_imports": opsets, "ir_version": 10, **fields})


def node(op="Relu", *inputs, out="logits", **attributes):
    return helper.make_node(op, list(inputs) or ["pixels"], [out], **attributes)


def loop():
    body = helper.make_graph([node("Identity", "c", out="d")], "b", [helper.make_tensor_value_info(n, t, []) for n, t in (
        ("i", TensorProto.INT64), ("c", TensorProto.BOOL))], [helper.make_tensor_value_info("d", TensorProto.BOOL, [])])
    return graph(node("Loop", "", "go", body=body), node(), weights=[numpy_helper.from_array(np.array(True), "go")])


def outside():
    weight = numpy_helper.from_array(np.ones((3, 2, 1, 1), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../weights.bin")
    return graph(node("Conv", "pixels", "w"), weights=[weight])


def huge():
    sizes = numpy_helper.from_array(np.array([1, 3, 100_000, 100_000]), "sizes")
    return graph(node("ConstantOfShape", "sizes", out="big"), node("Add", "pixels", "big"), weights=[sizes])


def function():
    model = graph(node("Twice", domain="mine"), domains=["mine"])
    model.functions.append(helper.make_function("mine", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])],
                                                [helper.make_opsetid("", 18)]))
    return model


def size_from_pixels():
    axes = numpy_helper.from_array(np.array([0, 1, 2, 3]), "axes")
    return graph(node("ReduceMax", "pixels", "axes", out="m", keepdims=0), node("Cast", "m", out="k", to=TensorProto.INT64),
                 node("Unsqueeze", "k", "zero", out="n"), node("ConstantOfShape", "n", out="s"), node("Add", "pixels", "s"),
                 weights=[axes, numpy_helper.from_array(np.array([0]), "zero")])


EXTRA = helper.make_tensor_value_info("mask", TensorProto.FLOAT, IMAGE)
REFUSED = {
    "a loop": (loop, "Loop: a network for tiles has no loops"), "weights outside": (outside, "keeps weights in another file.*opset_version=18, external_data=False"),
    "a custom operator": (lambda: graph(node("Magic", domain="acme"), domains=["acme"]), "custom operators 'acme:Magic'"),
    "a custom Microsoft operator": (lambda: graph(node("Gelu", domain="com.microsoft"), domains=["com.microsoft"]), "com.microsoft:Gelu"),
    "a local function": (function, "local functions"), "an unknown operator": (lambda: graph(node("LSTM")), "operators 'LSTM'"),
    "a random operator": (lambda: graph(node("RandomNormalLike")), "RandomNormalLike"),
    "100 GB made by a constant": (huge, "'big' has 111.8 GiB"),
    "a declared input of 40 Gpx": (lambda: graph(node(), image=[1, 2, 200_000, 200_000]), "fixed at 200000 x 200000"),
    "two inputs": (lambda: graph(node("Add", "pixels", "mask"), more_inputs=[EXTRA]), "2 inputs .'pixels', 'mask'"),
    "two outputs": (lambda: graph(node(), node("Neg", out="mask"), more_outputs=[EXTRA]), "2 outputs .'logits', 'mask'"),
    "uint8 pixels": (lambda: graph(node("Cast", to=TensorProto.FLOAT), kind=TensorProto.UINT8), "'pixels' is UINT8"),
    "pixels of no known type": (lambda: graph(node(), kind=78), "'pixels' is of unknown type 78"),
    "5 TB made by repeating": (lambda: graph(node("Tile", "pixels", "r"), weights=[numpy_helper.from_array(np.array(
        [1, 1, 3000, 3000]), "r")]), "'logits' has 4943.8 GiB"),
    "a size that multiplies another": (lambda: graph(
        node("Shape", out="s"), node("Mul", "s", "k", out="s2"), node("ConstantOfShape", "s2", out="z"),
        node("ReduceMax", "z", "k", out="m"), node("Add", "pixels", "m"),
        weights=[numpy_helper.from_array(np.array([1, 1, 4000, 4000]), "k")]), "'z' has 8789.1 GiB"),
    "half precision": (lambda: graph(node(), kind=TensorProto.FLOAT16, out=TensorProto.FLOAT16), "'pixels' is FLOAT16"),
    "half precision within": (lambda: graph(node("Cast", to=TensorProto.FLOAT16, out="h"), node("Cast", "h", to=TensorProto.FLOAT)),
                              "computes in FLOAT16 from Cast.*net.float"),
    "labels instead of logits": (lambda: graph(node("Cast", to=TensorProto.INT64), out=TensorProto.INT64), "is INT64.*before the ArgMax, threshold"),
    "a threshold that answers yes or no": (lambda: graph(node("Greater", "pixels", "w"), out=TensorProto.BOOL, weights=[numpy_helper.from_array(
        np.zeros(1, np.float32), "w")]), "is BOOL.*before the ArgMax, threshold"),
    "an argmax at the end": (lambda: graph(node("ArgMax", axis=1, out="k"), node("Cast", "k", to=TensorProto.FLOAT)),
                             "answers labels.*export it before the argmax"),
    "an argmax that answers whole numbers": (lambda: graph(node("ArgMax", axis=1), out=TensorProto.INT64), "export it before the argmax"),
    "a group norm": (lambda: graph(node("InstanceNormalization", "pixels", "w", "w"), weights=[numpy_helper.from_array(np.ones(2, np.float32), "w")]),
                     "torch's GroupNorm and InstanceNorm.*BatchNorm"),
    "classes last": (lambda: graph(node("Transpose", perm=[0, 2, 3, 1])), r"\(1, 192, 384, 2\): the classes come last, .*Transpose"),
    "bands last and a fixed size": (lambda: graph(node(), image=[1, 64, 64, 2]), "looks as if the bands came last"),
    "an odd fixed size": (lambda: unet(image=(1, BANDS, 67, 61)), "takes 67 x 61 pixels and no other.*resizes a grid of 17 x 15.*multiple of"),
    "a size that its resizing divides by chance": (lambda: unet(image=(1, BANDS, 65, 65)), "takes 65 x 65 pixels and no other"),
    "bands last": (lambda: graph(node(), image=["n", "h", "w", 2]), "transpose a network with bands last"),
    "no image": (lambda: graph(node(), image=["n", 2]), "must be \\(batch, bands, rows, cols\\)"),
    "a fixed batch": (lambda: graph(node(), image=[4, 2, "h", "w"]), "batch is fixed at 4"),
    "half a fixed size": (lambda: graph(node(), image=[1, 2, "h", 64]), "fix both sizes"),
    "an old operator set": (lambda: graph(node(), opset=9), "opset 9"), "a new one": (lambda: graph(node(), opset=21), "opset 21"),
    "quantised already": (lambda: graph(node("QuantizeLinear", "pixels", "s", out="q"), node("DequantizeLinear", "q", "s"), weights=[
        numpy_helper.from_array(np.array(1, np.float32), "s")]), "quantised already"),
    "a size out of pixels": (size_from_pixels, "computed from pixel values"),
    "an answer without a question": (lambda: graph(helper.make_node("Constant", [], ["logits"], value=numpy_helper.from_array(
        np.ones((1, 3, 4, 4), np.float32)))), "does not depend on the input"),
    "a dangling tensor": (lambda: graph(node("Relu", "nowhere")), "no valid ONNX model"),
    "valid convolutions": (lambda: graph(node("Conv", "pixels", "w"), weights=[numpy_helper.from_array(
        np.ones((3, 2, 3, 3), np.float32), "w")]), "whole stride"),
    "other bands than the spec": (lambda: graph(node(), image=["n", 1, "h", "w"]), "takes 1 bands, the spec names 2"),
    "other classes than the spec": (lambda: graph(node()), "2 classes, the spec names 3"),
    "a fixed size that is no square": (lambda: graph(node("Reshape", "pixels", "s", out="r"), node("Relu", "r", out="p"), node("Reshape", "p", "t"), image=[1, 2, 32, 64], weights=[
        numpy_helper.from_array(np.array(v), n) for v, n in (([1, 4096], "s"), ([1, 2, 32, 64], "t"))]), "must be square"),
}


def refused(tmp_path, message, data=None, spec=SPEC, options=None):
    network, description = save(tmp_path, unet(), spec)
    if data is not None:
        network.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(HfdError, match=message) as caught:
        package_foreign(network, description, tmp_path / "net.engine", options)
    assert sorted(tmp_path.iterdir()) == before, "something was written"
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1200, text
    return text


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_network_for_tiles_is_one_clear_error(name, tmp_path):
    make, message = REFUSED[name]
    refused(tmp_path, message, make().SerializeToString())


@pytest.mark.parametrize("data, message", [
    (b"", "cannot be read as ONNX"), (b"hello, world" * 9, "cannot be read as ONNX"), (b"PK\x03\x04" + bytes(60), "cannot be read as ONNX"),
    (bytes(range(256)) * 4, "cannot be read as ONNX")], ids=["empty", "text", "zip", "noise"])
def test_what_is_not_onnx_at_all_is_one_clear_error(data, message, tmp_path):
    refused(tmp_path, message, data)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_one_clear_error(cut, tmp_path):
    data = unet().SerializeToString()
    refused(tmp_path, "ONNX", data[:int(cut * len(data))])


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    network, spec = save(tmp_path, unet())
    with open(network, "r+b") as file:
        file.truncate(3 * 2**30)                        # a hole: no disk, no memory
    with pytest.raises(HfdError, match="3221225472 bytes"):
        package_foreign(network, spec, tmp_path / "net.engine")
    with pytest.raises(HfdError, match="is no file"):
        foreign_intake.read_foreign(tmp_path)
    with pytest.raises(HfdError, match="is no file"):
        foreign_intake.read_foreign(tmp_path / "missing.onnx")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = unet()
    next(t for t in model.graph.initializer if len(t.dims) == 4).raw_data = np.full((8, BANDS, 3, 3), np.nan, np.float32).tobytes()
    refused(tmp_path, "finite", model.SerializeToString())


def test_a_network_that_decides_nothing_is_refused(tmp_path):
    g = Foreign(BANDS)
    g.conv(np.zeros((3, BANDS, 1, 1)))
    refused(tmp_path, "decides nothing", g.model().SerializeToString())


def test_a_single_logit_with_one_class_says_that_it_is_two(tmp_path):
    refused(tmp_path, "name background first", unet(classes=1).SerializeToString())
    refused(tmp_path, "answers with 3 classes, the spec names 2", spec=TWO_CLASSES)


def test_a_fixed_tile_below_its_halo_is_refused(tmp_path):
    refused(tmp_path, "leaves nothing of the only tile", unet(image=(1, BANDS, 16, 16)).SerializeToString(),
            options=ForeignOptions(keep_size=True))


def test_a_filter_without_its_looks_is_refused(tmp_path):
    refused(tmp_path, "looks=None", spec=SPEC.replace("dn,", "intensity,").replace("std: [1, 1]", "std: [1, 1], speckle_filter: lee"))


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path):
    network, spec = save(tmp_path, deeplab(pooling=True))
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "net.engine"), "ReduceMean", "--unbounded")
    missing = run("package", network, "-o", tmp_path / "net.engine")
    assert missing.returncode == 2 and "--spec is missing" in missing.stderr
    network.write_bytes(loop().SerializeToString())
    failed(run("package", network, "--spec", spec, "-o", tmp_path / "net.engine"), "Loop")
    assert not (tmp_path / "net.engine").exists()


@pytest.mark.parametrize("change, message", [
    (("bands:", "band:"), "key band is not known: did you mean bands"), (("  unit: db ", "  units: db "), "did you mean unit"),
    (("  mean: [-12.5, -19.3]", "  # "), "input.mean missing"), (("unit: db", "unit: decibel"), "input.unit='decibel'.*db"),
    (("[-12.5, -19.3]", "[-12.5]"), "input.mean=.*list of 2 numbers"), (("[4.1, 4.6]", "[4.1, x]"), r"input.std\[1\]='x'"),
    (("[4.1, 4.6]", "[4.1, 0]"), "input.std"), (("[4.1, 4.6]", "[4.1, .nan]"), r"input.std\[1\]=nan"), (("  floor: -35", "  # "), "floor"),
    (("[[-30, 5], [-35, 0]]", "[-30, 5]"), r"input.clip\[0\]"), (("[[-30, 5], [-35, 0]]", "[[5, -30], [-35, 0]]"), "clip"),
    (("  floor: -35", "  floor: 0"), r"floor=0.0 with input.clip=\(-35.0, 0.0\).*every pixel becomes 0; give"), (("  floor: -35", "  floor: 20"), "floor=20.0"),
    (("[water, land, ship]", "[water, no, ship]"), r"classes\[1\]=False.*quotes"), (("[water, land, ship]", "[water, water, ship]"), "differ"),
    (("[water, land, ship]", "[water, land]"), "list of 2 colours"), (('"#1f6fb4"', "blue"), r"colors\[0\]='blue'"),
    (('"#1f6fb4"', "[1, 2, 300]"), r"colors\[0\]"), (("pixel_spacing_m: 10", "pixel_spacing_m: 0"), "above 0"),
    (("tile_px: 512", "tile_px: 51.2"), "whole number"), (("quantity: sigma0", "quantity: sigma-0"), "did you mean sigma0"),
    (("name: harbour-unet", "name: x\nname: y"), "stands twice"), (("name: harbour-unet", "name: &a x\nother: *a"), "aliases"),
    (("looks: 4.4", "looks: true"), "input.looks=True"), (("name: harbour-unet", "name: [unclosed"), "no YAML"),
])
def test_a_spec_names_the_key_that_is_wrong(change, message):
    text = EXAMPLE.replace(*change)
    assert text != EXAMPLE
    with pytest.raises(SpecError, match=message) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


def test_a_unit_counts_in_any_case():
    assert parse_spec(EXAMPLE.replace("unit: db", "unit: dB")) == parse_spec(EXAMPLE)


@pytest.mark.parametrize("data, message", [(b"", "must be keys and values"), (b"- a\n- b", "must be keys"), (b"\xff\xfe\x00", "no YAML"),
                                           (b"x" * (1 << 21), "more than"), (b"!!python/object:os.system {}", "no YAML"),
                                           (b"[" * 100_000, "nested more than 8")])
def test_what_is_no_spec_at_all_is_one_clear_error(data, message):
    with pytest.raises(SpecError, match=message):
        parse_spec(data)
