"""The gate: what must pass passes, what is broken fails, and a failed export leaves evidence and no package."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import network
from onnx import numpy_helper
from quantized import DEMO, FEW, demo, gate_tiles, make_small, options, ranges, reference, scene
from test_export import SPEC

from hfd_edge.cli import main
from hfd_edge.errors import ArrayError, CheckpointError, EngineError, ExportError, GateError, HfdError, RadiometryError
from hfd_edge.export import build, build_graphs, export_package, sealed
from hfd_edge.export.bounded_halo import MOST_FLIPS, bounded_halo_px, flip_curve
from hfd_edge.export.calibration_data import halves, open_scenes, tiles_of
from hfd_edge.export.parity import Thresholds, compare
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.verify import judge, runner
from hfd_edge.network import save_checkpoint
from hfd_edge.package import Package
from hfd_edge.products import Sentinel1Source
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests.rasters import write_tif
from tests.safe_files import MadeUp
from tests.test_products_sentinel1 import scene_of


def judged(graph, run=None):
    tiles = gate_tiles()
    return compare(reference(), run or runner(graph), tiles, FEW)


def test_the_network_beside_itself_passes_and_only_valid_core_pixels_count():
    result = judged(demo()[0])
    assert result.passed and result.flips == 0 and result.flip_bound == pytest.approx(3 / result.pixels)
    assert result.pixels == int(scene(1).source._valid.sum())
    assert result.iou_candidate == result.iou_reference and min(result.iou_reference) > 0.7
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True


def test_too_few_pixels_never_pass():
    result = judge(reference(), "graph-int8-cpu.onnx", demo()[0], gate_tiles())
    assert not result.passed and "1000000 are needed" in result.failures[0]


def test_one_wrong_scale_fails():
    model = onnx.load_from_string(to_int8_cpu(demo()[0], ranges()))
    constants = {t.name: t for t in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    wrong = numpy_helper.from_array(np.float32(numpy_helper.to_array(constants[first.input[1]]) * 1.5), "wrong")
    model.graph.initializer.append(wrong)
    first.input[1] = "wrong"                            # quantised with one scale, read back with another
    result = judged(model.SerializeToString())
    assert not result.passed and any("label flips" in failure for failure in result.failures)


def test_swapped_bands_fail():
    run = runner(to_int8_cpu(demo()[0], ranges()))
    result = judged(None, lambda batch: run(np.ascontiguousarray(batch[:, ::-1])))
    assert not result.passed and result.flip_rate > 0.1 and any("IoU" in failure for failure in result.failures)


def test_unsigned_activations_that_saturate_at_half_their_range_fail():
    model = onnx.load_from_string(to_int8_cpu(demo()[0], ranges()))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for number, node in enumerate([n for n in model.graph.node if n.op_type == "DequantizeLinear"]):
        if len(node.input) == 3 and constants[node.input[2]].dtype == np.uint8 and not constants[node.input[2]].any():
            out, node.output[0] = node.output[0], f"kept{number}"       # as where uint8 is taken for int8: 128..255 become 127
            most = numpy_helper.from_array(np.float32(127 * constants[node.input[1]].max()), f"most{number}")
            model.graph.initializer.append(most)
            place = list(model.graph.node).index(node) + 1
            model.graph.node.insert(place, onnx.helper.make_node("Clip", [node.output[0], "", most.name], [out]))
    result = judged(model.SerializeToString())
    assert not result.passed and any("ranges are cut" in failure for failure in result.failures)


def test_logits_that_are_not_finite_or_of_another_shape_are_refused():
    for broken in (lambda batch: np.full_like(reference()(batch), np.nan), lambda batch: reference()(batch)[:, :, 1:]):
        with pytest.raises(GateError, match="finite"):
            judged(None, broken)
    with pytest.raises(GateError, match="no tile"):
        compare(reference(), reference(), [])


def test_the_bounded_halo_keeps_its_promise_and_less_context_flips_more():
    spec = demo()[1]
    curve = flip_curve(reference(), gate_tiles(), spec)
    found = bounded_halo_px(curve)
    assert found is not None and found < spec.halo_px and found % spec.stride_px == 0
    assert all(point.bound <= MOST_FLIPS for point in curve if point.halo_px >= found)
    assert curve[-1].halo_px == 0 or curve[-1].bound > MOST_FLIPS
    assert [point.flips for point in curve] == sorted(point.flips for point in curve)


def test_export_writes_graphs_that_answer_their_golden_tile_and_a_run_names_its_graph(checkpoint, tmp_path, small, capsys):
    report = export_package(checkpoint, tmp_path / "m.engine", options(targets=("cpu", "tensorrt"), method="minmax"))
    graphs = ["graph-fp16-trt.onnx", "graph-fp32.onnx", "graph-int8-cpu.onnx", "graph-int8-trt.onnx"]
    with Package.open(tmp_path / "m.engine") as package:
        assert sorted(package.graph_names) == graphs
        made_of = package.manifest["provenance"]
        assert sorted(made_of["gate"]["graphs"]) == graphs and made_of["calibration"]["method"] == "minmax"
        assert package.spec.halo_bounded_px == report.spec.halo_bounded_px
        assert package.spec.edge_error[0] > 0 and made_of["edge_error"]["patches"] > 0
    assert report.gate.passed and len(report.gate.not_verified) == 2 and "not verified here" in str(report)
    assert all(scene.tiles > 1 for scene in report.gate.scenes)
    values = np.random.default_rng(0).normal(-12, 3, (2, 40, 40)).astype(np.float32)
    for precision, graph in (("auto", "int8-cpu"), ("int8", "int8-cpu"), ("fp32", "fp32")):
        with Segmenter(tmp_path / "m.engine", precision=precision) as segmenter:
            assert segmenter.run(values, unit="db").report.engine.endswith(f"graph-{graph}.onnx")
    assert main(["verify", str(tmp_path / "m.engine"), "--against", str(checkpoint), "--data", "simulated", "--max-flips",
                 "0.9", "--max-iou", "0.9", "--max-logits", "9", "--min-pixels", "1000", "--report",
                 str(tmp_path / "page")]) == 0
    part = write_tif(tmp_path / "part.tif", np.random.default_rng(0).gamma(4, 0.02, (2, 200, 200)).astype(np.float32))
    words = ["verify", str(tmp_path / "m.engine"), "--against", str(checkpoint), "--data", str(part), "--unit", "intensity", "--max-flips", "1e-9",
             "--quiet"]
    assert main([*words, "--min-pixels", "1000"]) == 3
    assert "no longer says" in capsys.readouterr().err
    assert main(words) == 1
    assert "valid pixels in 1 scene, and 1,000,000 are needed" in (said := capsys.readouterr().err) and "a lower --min-pixels" in said
    page = (tmp_path / "page" / "gate.html").read_text()
    assert "data:image/png;base64," in page and "not verified here" in page.lower() and "http" not in page
    assert (tmp_path / "page" / "worst-graph-int8-cpu.png").read_bytes().startswith(b"\x89PNG")


def test_products_calibrate_and_judge_as_rasters_of_the_power_that_they_are_calibrated_to(checkpoint, tmp_path, capsys):
    (tmp_path / "safe").mkdir()
    (tmp_path / "power").mkdir()
    for seed in (1, 2):
        safe = scene_of(MadeUp(rows=170, cols=180, seed=seed)).write(tmp_path / "safe")
        safe = safe.rename(safe.with_name(f"S1A_IW_GRDH_{seed}.SAFE"))
        with Sentinel1Source(safe) as source:
            values, valid = source.read(0, source.rows)
        write_tif(tmp_path / "power" / f"{seed}.tif", np.where(valid, values, np.nan).astype(np.float32))
    plan, intensity = {"method": "minmax", "precisions": ("fp32", "int8")}, RasterOptions(unit="intensity")
    found = [export_package(checkpoint, tmp_path / f"{name}.engine", options(data=(tmp_path / name,), declared=declared, **plan))
             for name, declared in (("safe", RasterOptions()), ("power", intensity))]
    hashes = []
    for name in ("safe", "power"):
        with Package.open(tmp_path / f"{name}.engine") as package:
            hashes.append(package.manifest["provenance"]["calibration"]["data_sha256"])
    assert hashes[0] == hashes[1] and found[0].gate.graphs["graph-int8-cpu.onnx"].flips == found[1].gate.graphs["graph-int8-cpu.onnx"].flips
    assert found[0].gate.data == ("S1A_IW_GRDH_2.SAFE",) and "S1A_IW_GRDH_1.SAFE, S1A_IW_GRDH_2.SAFE: Sentinel-1 IW GRD" in str(found[0])
    loose = ("--max-flips", "0.9", "--max-iou", "0.9", "--max-logits", "9", "--min-pixels", "1000")
    assert main(["verify", str(tmp_path / "safe.engine"), "--against", str(checkpoint), "--data", str(tmp_path / "safe"), *loose]) == 0
    assert "tiled scene S1A_IW_GRDH_1.SAFE, graph-int8-cpu.onnx" in capsys.readouterr().out


@pytest.fixture(scope="module")
def failed(checkpoint, tmp_path_factory):
    """What an export leaves whose gate fails."""
    folder = tmp_path_factory.mktemp("failed")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(GateError, match="quarantine"):
        make_small(patch)
        export_package(checkpoint, folder / "m.engine", options(thresholds=Thresholds(1e-7, 1e-7, 9.0, min_pixels=1000)))
    return folder


def test_a_failed_gate_leaves_evidence_and_no_package(failed):
    assert [p.name for p in failed.iterdir()] == ["m.engine.quarantine"]
    names = {p.name for p in (failed / "m.engine.quarantine").iterdir()}
    assert {"gate.json", "gate.html", "ranges.json", "graph-fp32.onnx", "graph-int8-cpu.onnx",
            "worst-graph-int8-cpu.png"} <= names
    assert json.loads((failed / "m.engine.quarantine" / "gate.json").read_text())["passed"] is False


def test_too_few_pixels_are_refused_before_anything_runs_with_how_many_there_are_and_what_to_do(checkpoint, tmp_path, small, monkeypatch):
    monkeypatch.setattr(build_graphs, "calibrate", None)
    first, second = (int(each.source._valid.sum()) for each in open_scenes(["simulated"], demo()[1], None))
    total, judged = first + second, second
    needed = 10_000 + judged // 10_000 * 10_000
    words = (f"^{total:,} valid pixels in 2 scenes, of which every second one calibrates and the others judge: {judged:,} are left to judge on, and "
             f"{needed:,} are needed .*whatever the precision; give about 20,000 more in further scenes .*FP32 alone needs no scenes; nothing was written$")
    for precisions in (("fp32",), None):
        with pytest.raises(ExportError, match=words) as refused:
            export_package(checkpoint, tmp_path / "m.engine", options(precisions=precisions, thresholds=Thresholds(min_pixels=needed)))
        assert not isinstance(refused.value, GateError) and not list(tmp_path.iterdir())


def test_a_gate_that_passes_takes_away_the_evidence_of_one_that_failed_and_nothing_else(checkpoint, failed, tmp_path, small):
    output, old, kept = tmp_path / "m.engine", tmp_path / "m.engine.quarantine", failed / "m.engine.quarantine"
    shutil.copytree(kept, old)
    passing = options(precisions=("fp32",))
    report = export_package(checkpoint, output, passing)
    assert report.gate.passed and [p.name for p in tmp_path.iterdir()] == ["m.engine"] and "quarantine" not in str(report)
    shutil.copytree(kept, old)
    (old / "mine.txt").write_text("notes")
    before = sorted(p.name for p in old.iterdir())
    report = export_package(checkpoint, output, replace(passing, overwrite=True))
    assert sorted(p.name for p in old.iterdir()) == before and "m.engine.quarantine of an earlier export holds more than" in str(report)
    (old / "mine.txt").unlink()
    assert sealed._is_evidence(old)
    (old / "gate.json").write_text('{"passed": true}')
    assert not sealed._is_evidence(old)


def test_a_precision_that_is_not_in_the_package_is_refused():
    with pytest.raises(EngineError, match="for precision int8"):
        Segmenter(DEMO, precision="int8")
    with pytest.raises(EngineError, match="auto, int8, fp32"):
        Segmenter(DEMO, precision="int4")


@pytest.mark.parametrize(("words", "plan"), [
    ("ranges come from real scenes", {"data": (), "precisions": ("int8",)}),
    ("tensorrt without calibration data", {"data": (), "targets": ("cpu", "tensorrt")}),
    ("fp16 without calibration data", {"data": (), "precisions": ("fp32", "fp16"), "targets": ("tensorrt",)}),
    ("no such raster, product or folder", {"data": ("nowhere.tif",)}),
    ("precision 'int4' is not known", {"precisions": ("int4",)}),
    ("target 'gpu' is not known", {"targets": ("gpu",)}),
    ("calibration method 'guess' is not known", {"method": "guess"}),
    ("weight_bits=6", {"weight_bits": 6}),
    ("without target tensorrt", {"precisions": ("fp16",)}),
    ("no node of the graph", {"keep_float": ("nothing",), "method": "minmax"})])
def test_a_plan_that_cannot_be_is_one_clear_error(checkpoint, tmp_path, small, words, plan):
    with pytest.raises(ExportError, match=words):
        export_package(checkpoint, tmp_path / "m.engine", options(**plan))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "output", "changes", "plan"), [
    ("nowhere is not a folder: make it first", "nowhere/m.engine", {}, {}), ("in is a folder: give the name of a file", "in", {}, {}),
    ("net.safetensors is an input of this run: an input is never replaced", "net.safetensors", {"overwrite": True}, {}),
    ("old.engine is an input", "old.engine", {"overwrite": True, "replaces": "old.engine"}, {}),
    ("old.engine exists: nothing is replaced unasked; choose another name or give --overwrite", "old.engine", {}, {}),
    ("filter_halo_px=-8 .*--filter-halo", "m.engine", {"filter_halo_px": -8}, {}),
    ("the report .*net.json is a file: give a folder", "m.engine", {"report": "net.json"}, {}),
    ("gone.engine", "m.engine", {"replaces": "gone.engine"}, {}), ("gone.tif: no such raster", "m.engine", {}, {"data": ("gone.tif",)}),
    ("without one file", "m.engine", {}, {"data": ("",)}), ("without one file", "m.engine", {}, {"data": (", ",)})])
def test_what_can_be_known_to_fail_fails_before_the_network_is_exported(checkpoint, tmp_path, monkeypatch, words, output, changes, plan):
    for file in checkpoint.parent.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "in").mkdir()
    shutil.copy(DEMO, tmp_path / "old.engine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr(build, "to_onnx", None)
    monkeypatch.chdir(tmp_path)
    changes = {name: Path(value) if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(HfdError, match=words):
        export_package("net.safetensors", output, replace(options(**{"data": (), **plan}), **changes))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(("changes", "words"), [
    ({"flips": 1}, "flips=1 .--max-flips.*1 % is 0.01"), ({"flips": float("nan")}, "flips=nan"), ({"iou": -0.1}, "iou=-0.1 .--max-iou"),
    ({"logits": float("inf")}, "logits=inf .--max-logits"), ({"logits": float("nan")}, "logits=nan"), ({"min_pixels": 0}, "min_pixels=0 .--min-pixels")])
def test_a_threshold_that_everything_passes_is_refused(changes, words):
    with pytest.raises(ExportError, match=words):
        Thresholds(**changes)


def test_a_checkpoint_that_is_none_is_called_by_the_name_that_was_given(tmp_path):
    shutil.copy(DEMO, tmp_path / "old.engine")
    (tmp_path / "alone.safetensors").write_bytes(b"")
    for given, words in (("old.engine", "old.engine is no checkpoint"), ("gone.safetensors", "gone.safetensors: no such file"),
                         ("gone", "gone: no such file"), ("alone.safetensors", "alone.json: no such file")):
        with pytest.raises(CheckpointError, match=f"{words}; a checkpoint is NAME.safetensors with NAME.json beside it"):
            export_package(tmp_path / given, tmp_path / "m.engine")


def test_calibration_scenes_of_other_bands_or_of_unknown_unit_are_refused(checkpoint, tmp_path):
    values = np.random.default_rng(0).gamma(4, 0.02, (3, 96, 96)).astype(np.float32)
    (tmp_path / "in").mkdir()
    write_tif(tmp_path / "in" / "three.tif", values)
    write_tif(tmp_path / "in" / "two.tif", values[:2])
    for name, error, words in (("three.tif", ArrayError, "three.tif: the scene has 3 bands and the network takes 2"),
                               ("two.tif", RadiometryError, "two.tif: the unit of the pixels")):
        with pytest.raises(error, match=words):
            export_package(checkpoint, tmp_path / "m.engine", options(data=(tmp_path / "in" / name,)))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_folder_gives_scenes_with_their_truth_and_a_single_scene_is_cut_in_two(tmp_path):
    spec = demo()[1]
    values = np.random.default_rng(0).gamma(4, 0.02, (2, 200, 150)).astype(np.float32)
    write_tif(tmp_path / "a.tif", values)
    write_tif(tmp_path / "a_labels.tif", np.full((1, 200, 150), 2, np.uint8))
    write_tif(tmp_path / "b.tif", values)
    with ExitStack() as stack:
        scenes = open_scenes([tmp_path], spec, stack, RasterOptions(unit="intensity"))
        assert [s.name for s in scenes] == ["a.tif", "b.tif"] and scenes[1].truth is None
        assert [len(part) for part in halves(scenes)] == [1, 1]
        upper, lower = (list(tiles_of(part, spec, 512)) for part in halves(scenes[:1]))
        assert sum(int((t.status == 0).sum()) for t in upper) == sum(int((t.status == 0).sum()) for t in lower) == 100 * 150
        assert {int(v) for v in np.unique(upper[0].labels)} == {2, 255}
        write_tif(tmp_path / "a_labels.tif", np.full((1, 200, 150), 9, np.uint8))
        with pytest.raises(ExportError, match="label 9"):
            list(tiles_of(open_scenes([tmp_path / "a.tif"], spec, stack, RasterOptions(unit="intensity")), spec, 512))


@pytest.mark.parametrize(("spoil", "words"), [
    ("missing", "does not hold the weights"), ("surplus", "does not hold the weights"), ("spec", "they must agree"),
    ("pickle", "can run code")])
def test_a_checkpoint_that_contradicts_itself_is_one_clear_error_and_nothing_is_written(tmp_path, spoil, words):
    from safetensors.torch import load_file, save_file
    part = {**SPEC, "bands": ["VV"]} if spoil == "spec" else SPEC
    save_checkpoint(tmp_path / "net", network(max_stride=8), part, {})
    path = tmp_path / "net.safetensors"
    tensors = load_file(path)
    if spoil == "missing":
        tensors.pop("classifier.bias")
    if spoil == "surplus":
        tensors["extra"] = tensors["classifier.bias"].clone()
    save_file(tensors, path)
    path = path.rename(tmp_path / "net.pt") if spoil == "pickle" else path
    with pytest.raises((CheckpointError, ExportError), match=words):
        export_package(path, tmp_path / "m.engine")
    assert not (tmp_path / "m.engine").exists()
