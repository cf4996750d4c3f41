"""The exported graph: the network's numbers at any size, legal for every engine, and tiles that equal the whole."""

import json

import numpy as np
import onnx
import pytest
import torch
import typer
from networks import BANDS, CLASSES, exported, kept_export, network
from onnx import numpy_helper
from typer.testing import CliRunner

from hfd_edge.errors import ExportError, GateError, HfdError, ReachError
from hfd_edge.export import ExportOptions, build, export_package
from hfd_edge.export.activation import activation_bytes_per_px
from hfd_edge.export.onnx import to_onnx
from hfd_edge.export.parity import open_session
from hfd_edge.export.reach import bound_reach
from hfd_edge.network import save_checkpoint
from hfd_edge.tiles import TileGrid, reflect101, round_up

VARIANTS = [("resnet10t", 16, "none"), ("resnet18", 8, "local"), ("resnet18", 16, "flow"), ("efficientnet_lite0", 16, "local")]
SPEC = {"name": "test", "bands": ["VV", "VH"], "classes": list("abcde"), "colors": [[i, i, i] for i in range(5)], "tile_px": 512,
        "input": {"unit": "db", "mean": [-11.0, -18.0], "std": [4.0, 4.0], "floor": -35.0, "clip": [[-30, 5], [-35, 0]]},
        "pixel_spacing_m": 10.0}
variants = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v)))


@variants
def test_the_graph_gives_the_networks_logits_at_any_size_and_batch(variant):
    net, graph = exported(*variant)
    session, s = open_session(graph), net.stride_px
    for batch, rows, cols in ((1, s, s), (1, 6 * s, 4 * s), (3, 8 * s, 16 * s), (2, 5 * s, 7 * s)):
        pixels = torch.randn(batch, BANDS, rows, cols)
        with torch.no_grad():
            expected = net(pixels).numpy()
        got = session.run(None, {"pixels": pixels.numpy()})[0]
        assert got.shape == (batch, CLASSES, rows // net.logit_stride_px, cols // net.logit_stride_px)
        assert np.abs(got - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@variants
def test_the_graph_is_one_plain_file_that_every_engine_takes(variant):
    from hfd_edge.engine.graph_scan import check_graph, scan
    net, graph = exported(*variant)
    check_graph(scan(graph))
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)] and model.ir_version <= 10
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    constants = {t.name for t in model.graph.initializer}
    assert all(node.input[2] in constants for node in model.graph.node if node.op_type == "Resize")
    assert not any(holder.metadata_props or holder.doc_string            # where torch notes source files of the exporting machine
                   for holder in (model, model.graph, *model.graph.node, *model.graph.initializer))
    assert b"site-packages" not in graph
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["pixels", "logits"]


def test_export_leaves_the_network_as_it_was_and_gives_the_same_bytes_again():
    net, graph = exported("resnet10t", 16, "none")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in net.laterals.modules())
    assert to_onnx(net) == graph


def window(scene, row, col, rows, cols):
    """A window of the scene, reflected at the scene's edges."""
    index = [[reflect101(i, size) for i in range(first, first + count)]
             for first, count, size in ((row, rows, scene.shape[1]), (col, cols, scene.shape[2]))]
    return scene[:, index[0]][:, :, index[1]][None]


def stitched(session, scene, grid, logit_stride):
    """Logits of the scene from tiles: the cells of each core, where it was cropped."""
    rows, cols = (round_up(n, logit_stride) // logit_stride for n in scene.shape[1:])
    result = np.full((CLASSES, rows, cols), np.nan, np.float32)
    for strip in grid.strips():
        for tile in strip.tiles:
            logits = session.run(None, {"pixels": window(scene, tile.in_row, tile.in_col, tile.in_rows, tile.in_cols)})[0][0]
            top, left = (v // logit_stride for v in tile.crop)
            kept = logits[:, top:top + -(-tile.rows // logit_stride), left:left + -(-tile.cols // logit_stride)]
            row, col = tile.row // logit_stride, tile.col // logit_stride
            result[:, row:row + kept.shape[1], col:col + kept.shape[2]] = kept
    return result


@variants
def test_tiles_with_the_exact_halo_equal_the_whole(variant):
    net, graph = exported(*variant)
    stride, logit_stride = net.stride_px, net.logit_stride_px
    halo = round_up(bound_reach(graph, stride, logit_stride).reach_px, stride)
    session = open_session(graph)
    scene = np.random.default_rng(5).standard_normal((BANDS, 201, 150)).astype(np.float32)
    whole = stitched(session, scene, TileGrid(201, 150, round_up(201, stride), round_up(150, stride), halo, stride), logit_stride)
    assert np.isfinite(whole).all()
    for core, offset in ((4 * stride, (0, 0)), (6 * stride, (stride, 2 * stride))):
        tiles = stitched(session, scene, TileGrid(201, 150, core, core, halo, stride, offset=offset), logit_stride)
        if variant[2] == "flow":
            assert np.abs(tiles - whole).max() <= 1e-4 * max(1, np.abs(whole).max())
        else:
            assert np.array_equal(tiles, whole)


def test_activations_are_counted_while_they_live():
    node = onnx.helper.make_node
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None] * 4) for n in ("pixels", "d")]
    nodes = [node("Relu", ["pixels"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["a", "b"], ["c"]),
             node("Relu", ["c"], ["d"])]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", value[:1], value[1:]),
                                   opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    assert activation_bytes_per_px(model.SerializeToString(), 2, 4) == 3 * 2 * 4        # a, b and c at once: 2 bands of float32


def checkpoint(folder, net, **changes):
    return save_checkpoint(folder / "student", net, {**SPEC, **changes}, {"seed": 7, "trained_on": {"set": "012345678901"}})


@pytest.fixture
def fast():
    """A network whose graph is there already."""
    return exported("resnet10t", 16, "none")[0]


def test_a_checkpoint_becomes_a_package_that_tells_everything(tmp_path, fast):
    from hfd_edge.package import Package
    report = export_package(checkpoint(tmp_path, fast), tmp_path / "m.engine")
    spec = report.spec
    assert (spec.stride_px, spec.logit_stride_px, spec.tile_px) == (16, 4, 512)
    assert spec.halo_px == round_up(spec.reach_px, 16) and report.measured_reach_px <= spec.reach_px
    assert spec.activation_bytes_per_px > 0 and report.parity.flips == 0
    with Package.open(tmp_path / "m.engine") as package:
        assert package.spec == spec
        provenance = package.manifest["provenance"]
        assert provenance["training"] == {"seed": 7} and provenance["parity"]["graph-fp32.onnx"]["flips"] == 0
        assert set(provenance["checkpoint"]) == {"student.safetensors", "student.json"} and provenance["tools"]["torch"]
        session = open_session(bytes(package.read("graph-fp32.onnx")))
        logits = session.run(None, {"pixels": np.array(package.golden.input)[None]})[0][0]
        labels = package.golden.labels["graph-fp32.onnx"]
        assert labels.shape == (32, 32) and (labels < 255).mean() > 0.5
        assert np.array_equal(logits.argmax(0)[labels < 255], labels[labels < 255])
    json.dumps(report.to_dict())
    assert "parity FP32" in str(report)


def test_a_golden_tile_can_be_given_and_a_wrong_one_is_refused(tmp_path, fast):
    from hfd_edge.package import Package
    path, pixels = checkpoint(tmp_path, fast), np.random.default_rng(1).standard_normal((2, 64, 64)).astype(np.float32)
    export_package(path, tmp_path / "m.engine", ExportOptions(golden_pixels=pixels, measure=False))
    with Package.open(tmp_path / "m.engine") as package:
        assert np.array_equal(package.golden.input, pixels)
    for wrong in (pixels[:1], pixels.astype(np.float64), pixels[:, :40, :40], np.full_like(pixels, np.nan)):
        with pytest.raises(ExportError, match="golden tile"):
            export_package(path, tmp_path / "n.engine", ExportOptions(golden_pixels=wrong, measure=False))


def test_a_graph_that_says_something_else_leaves_no_package(tmp_path, fast, monkeypatch):
    model = onnx.load_from_string(build.to_onnx(fast))
    bias = next(t for t in model.graph.initializer if t.name == "classifier.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([0.01, 0, 0, 0, 0]), bias.name))
    monkeypatch.setattr(build, "to_onnx", lambda _: model.SerializeToString())
    with pytest.raises(GateError, match="no package"):
        export_package(checkpoint(tmp_path, fast), tmp_path / "m.engine", ExportOptions(measure=False))
    assert not list(tmp_path.glob("*.engine*"))


def test_what_cannot_be_exported_says_why_and_writes_nothing(tmp_path, fast):
    path, out, quick = checkpoint(tmp_path, fast), tmp_path / "m.engine", ExportOptions(measure=False)
    with pytest.raises(ReachError, match="max_halo_px=32"):
        export_package(path, out, ExportOptions(max_halo_px=32))
    for changes, word in (({"classes": ["a"]}, "classes"), ({"colors": []}, "colors"), ({"input": {"unit": "db"}}, "spec"),
                          ({"input": {**SPEC["input"], "speckle_filter": "lee", "looks": None}}, "looks=None")):
        with pytest.raises(HfdError, match=word):
            export_package(checkpoint(tmp_path, fast, **changes), out, quick)
    assert not out.exists()
    out.write_bytes(b"mine")
    with pytest.raises(ExportError, match="exists"):
        export_package(checkpoint(tmp_path, fast), out, quick)
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize(("kind", "bands"), [("eo", ["B", "G", "R", "NIR"]), ("eo+sar", ["B", "G", "R", "NIR", "VV", "VH"])])
def test_a_teacher_is_not_exported_and_the_student_is_named(tmp_path, fast, kind, bands):
    net = network(max_stride=8, in_bands=len(bands))
    save_checkpoint(tmp_path / "teacher-0", net, {**SPEC, "bands": bands}, {"kind": kind})
    with pytest.raises(ExportError, match="teacher-0 is a teacher.*WORK/student"):
        export_package(tmp_path / "teacher-0", tmp_path / "net.engine")
    assert not (tmp_path / "net.engine").exists()


def test_a_tile_too_small_for_the_halo_is_enlarged_aloud(tmp_path, fast):
    report = export_package(checkpoint(tmp_path, fast, tile_px=128), tmp_path / "m.engine", ExportOptions(measure=False))
    assert report.spec.tile_px > 2 * report.spec.halo_px and "tile_px=128" in report.notes[0]


def test_a_network_with_global_pooling_is_refused_by_the_operators_name():
    graph = kept_export(network("mobilenetv3_small_100", max_stride=8))         # its squeeze-and-excitation spans the image
    with pytest.raises(ReachError, match="ReduceMean|GlobalAveragePool"):
        bound_reach(graph, 8, 4)


def test_the_command_prints_the_report_as_json(tmp_path, fast):
    from hfd_edge.cli.export import export
    app = typer.Typer()
    app.command()(export)
    result = CliRunner().invoke(app, [str(checkpoint(tmp_path, fast)), "-o", str(tmp_path / "m.engine"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["spec"]["stride_px"] == 16
