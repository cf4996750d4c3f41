"""What export, package and verify refuse before they judge: plans, scenes and checkpoints that cannot be."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from networks import network
from quantized import DEMO, demo, options
from test_export import SPEC

from hfd_edge.cli import main
from hfd_edge.errors import ArrayError, CheckpointError, EngineError, ExportError, GateError, HfdError, RadiometryError, RasterError
from hfd_edge.export import build, export_package, sealed
from hfd_edge.export.calibration_data import halves, open_scenes, tiles_of
from hfd_edge.export.foreign import ForeignOptions, package_foreign
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.verify_package import verify_package
from hfd_edge.network import save_checkpoint
from hfd_edge.raster_run import RasterOptions
from hfd_edge.segmenter import Segmenter
from tests.foreign_networks import deeplab, save
from tests.rasters import write_tif


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
    ("target 'gpu' is not known", {"targets": ("gpu",)}), ("target .--target. is empty", {"targets": ()}), ("--precision. is empty", {"precisions": ()}),
    ("calibration method 'guess' is not known", {"method": "guess"}),
    ("weight_bits=6", {"weight_bits": 6}),
    ("without target tensorrt", {"precisions": ("fp16",)}),
    ("--keep-float without an INT8 graph: .*precision fp32 for target cpu has none", {"precisions": ("fp32",), "keep_float": ("conv",)}),
    ("--calibrator without an INT8 graph", {"precisions": ("fp32", "fp16"), "targets": ("cpu", "tensorrt"), "method": "minmax"}),
    ("--weight-bits 8 without an INT8 graph for the CPU", {"targets": ("tensorrt",), "weight_bits": 8}),
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
    ("the report .*net.json/gate cannot be written: .*net.json is no folder", "m.engine", {"report": "net.json/gate"}, {}),
    ("the report .*m.engine has the name of the package", "m.engine", {"report": "m.engine"}, {}),
    ("the report in would lie among the scenes", "m.engine", {"report": "in"}, {"data": ("in",)}),
    ("gone.engine", "m.engine", {"replaces": "gone.engine"}, {}), ("gone.tif: no such raster", "m.engine", {}, {"data": ("gone.tif",)}),
    ("without one file", "m.engine", {}, {"data": ("",)}), ("without one file", "m.engine", {}, {"data": (", ",)})])
def test_what_can_be_known_to_fail_fails_before_the_network_is_exported(checkpoint, tmp_path, monkeypatch, words, output, changes, plan):
    for file in checkpoint.parent.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").touch()
    shutil.copy(DEMO, tmp_path / "old.engine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr(build, "to_onnx", None)
    monkeypatch.chdir(tmp_path)
    changes = {name: Path(value) if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(HfdError, match=words):
        export_package("net.safetensors", output, replace(options(**{"data": (), **plan}), **changes))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("output", ["a.tif", "a_labels.tif"])
def test_a_scene_that_calibrates_is_never_replaced_nor_its_labels(checkpoint, tmp_path, monkeypatch, output):
    folder = tmp_path / "scenes"
    folder.mkdir()
    before = {name: (folder / name).write_bytes(name.encode()) and name.encode() for name in ("a.tif", "a_labels.tif")}
    monkeypatch.setattr(build, "to_onnx", None)
    with pytest.raises(ExportError, match=f"{output} is an input of this run: an input is never replaced"):
        export_package(checkpoint, folder / output, replace(options(data=(folder,)), overwrite=True))
    network, spec = save(tmp_path, deeplab())
    with pytest.raises(ExportError, match=f"{output} is an input of this run"):
        package_foreign(network, spec, folder / output, ForeignOptions(True, plan=options(data=(folder,)).plan))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def full_disk(*_):
    raise RasterError("gate.json cannot be written: No space left on device")


@pytest.mark.parametrize(("flips", "error", "words"), [
    (0.9, ExportError, "m.engine is written and its gate passed; its report is not whole: gate.json cannot be written: No space"),
    (1e-9, GateError, "the gate failed and no package was written: .*label flips.*; the evidence in .*quarantine is not whole .gate.json cannot")])
def test_a_report_that_cannot_be_written_hides_neither_the_package_nor_the_gate(checkpoint, tmp_path, small, monkeypatch, flips, error, words):
    monkeypatch.setattr(sealed, "write_page", full_disk)
    made = options(precisions=("fp32",), thresholds=Thresholds(flips, 0.9, 9, 10_000))
    with pytest.raises(error, match=words):
        export_package(checkpoint, tmp_path / "m.engine", replace(made, report=tmp_path / "gate"))
    assert (tmp_path / "m.engine").exists() == (error is ExportError)


@pytest.mark.parametrize(("failures", "code"), [((), 1), (("a graph: labels flip",), 3)])
def test_a_judgement_is_told_where_its_report_cannot_be_written(tmp_path, monkeypatch, capsys, failures, code):
    gate = SimpleNamespace(passed=not failures, failures=failures)
    monkeypatch.setattr("hfd_edge.export.verify_package.verify_package", lambda *_: (gate, None))
    monkeypatch.setattr("hfd_edge.export.verify_page.write_page", full_disk)
    words = ["verify", "m.engine", "--against", "net", "--data", "scenes", "--report"]
    assert main([*words, str(tmp_path / "gate")]) == code
    said = capsys.readouterr()
    assert "namespace(passed" in said.out and all(word in said.err for word in (*failures, "the report is not whole: gate.json cannot be written"))
    (tmp_path / "file").touch()
    monkeypatch.setattr("hfd_edge.export.verify_package.verify_package", None)
    assert main([*words, str(tmp_path / "file")]) == 1 and "is a file: give a folder" in capsys.readouterr().err


def test_what_fails_after_the_package_was_written_says_that_it_is_there(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hfd_edge.export.qgis.write_qgis", full_disk)
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "m.engine"), "--qgis", str(tmp_path / "q.onnx")]) == 1
    assert "m.engine is written; gate.json cannot be written: No space" in capsys.readouterr().err and (tmp_path / "m.engine").exists()


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
    for given in ("", ".", "/"):
        with pytest.raises(CheckpointError, match="is no checkpoint; a checkpoint is NAME.safetensors"):
            export_package(given, tmp_path / "m.engine")


def test_weights_that_are_no_numbers_are_called_so_and_no_fault_of_the_reach(tmp_path):
    net = network(max_stride=8)
    next(net.parameters()).data[0] = float("nan")
    with pytest.raises(GateError, match="must be finite.*have diverged"):
        export_package(save_checkpoint(tmp_path / "net", net, SPEC, {}), tmp_path / "m.engine")
    assert not list(tmp_path.glob("*m.engine*"))


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


def with_spec(checkpoint, folder, **changes):
    """The checkpoint with another text beside its weights; keys of "input" by input=."""
    record = json.loads(checkpoint.with_suffix(".json").read_text())
    inner = changes.pop("input", {})
    record["spec"] |= changes | ({"input": {**record["spec"]["input"], **inner}} if isinstance(inner, dict) else {"input": inner})
    (folder / "net.json").write_text(json.dumps(record))
    return shutil.copy(checkpoint, folder / "net.safetensors")


@pytest.mark.parametrize(("changes", "words"), [
    ({"bands": 5}, "has bands='5': it must be a list of names"), ({"classes": None}, "has classes='None'"), ({"input": 7}, "has input='7': it must be an object"),
    ({"input": {"flooor": -30}}, "has input.flooor, which is not known and would change nothing"), ({"tile_px": "big"}, "tile_px='big'"),
    ({"tile_px": -4}, "tile_px=-4"), ({"name": 5}, r"refused: spec holds '5' as a name"), ({"pixel_spacing_m": "ten"}, "pixel_spacing_m='ten'"),
    ({"input": {"looks": "many"}}, "input.looks='many'"), ({"input": {"floor": "low"}}, "spec record cannot be read")])
def test_a_sidecar_that_was_edited_wrongly_is_one_clear_error_before_the_network_is_exported(checkpoint, tmp_path, monkeypatch, changes, words):
    (tmp_path / "in").mkdir()
    net = with_spec(checkpoint, tmp_path / "in", **changes)
    monkeypatch.setattr(build, "to_onnx", None)
    with pytest.raises(ExportError, match=f"net.safetensors: the checkpoint's spec .*{words}"):
        export_package(net, tmp_path / "m.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"input": {"mean": [-12.0, -18.0]}}, r"m.engine has input.mean -11.0, -18.0, .*net.safetensors has -12.0, -18.0: verify an engine against the checkpoint"),
    ({"input": {"floor": -40}}, "input.floor -35.0"), ({"input": {"clip": None}}, "input.clip"), ({"bands": ["VH", "VV"]}, "has bands VV, VH"),
    ({"input": {"speckle_filter": "lee", "looks": 4}}, "input.looks None")])
def test_an_engine_is_not_verified_against_a_network_that_sees_other_numbers(checkpoint, tmp_path, changes, words):
    """The graphs are judged on input that the engine's spec makes: the same weights under another mean passed."""
    export_package(checkpoint, tmp_path / "m.engine", options(data=()))
    with pytest.raises(ExportError, match=words):
        verify_package(tmp_path / "m.engine", with_spec(checkpoint, tmp_path, **changes), ["simulated"])


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
