"""The gate: what must pass passes, what is broken fails, and a failed export leaves evidence and no package."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from quantized import FEW, demo, gate_tiles, make_small, options, ranges, reference, scene

from hfd_edge.cli import main
from hfd_edge.errors import ExportError, GateError
from hfd_edge.export import build_graphs, export_package, sealed
from hfd_edge.export.bounded_halo import MOST_FLIPS, bounded_halo_px, flip_curve
from hfd_edge.export.calibration_data import open_scenes
from hfd_edge.export.judged_scenes import told_of
from hfd_edge.export.parity import Thresholds, compare
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.verify import judge, runner
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
        low, high = made_of["gate"]["offsets"]["VV"]
        assert -3 < low <= high < 3 and f"VV {low:+.2f} to {high:+.2f} dB" in str(report)
        assert "WARNING: judged on 1 scene:" in str(report) and "WARNING: judged on simulated scenes alone" in str(report)
        assert sorted(made_of["gate"]["graphs"]) == graphs and made_of["calibration"]["method"] == "minmax"
        assert package.spec.halo_bounded_px == report.spec.halo_bounded_px
        assert package.spec.edge_error[0] > 0 and made_of["edge_error"]["patches"] > 0
    assert report.gate.passed and len(report.gate.not_verified) == 2 and "not verified here" in str(report)
    assert all(scene.tiles > 1 for scene in report.gate.scenes)
    values = np.random.default_rng(0).normal(-12, 3, (2, 40, 40)).astype(np.float32)
    for precision, graph in (("auto", "int8-cpu"), ("int8", "int8-cpu"), ("fp32", "fp32")):
        with Segmenter(tmp_path / "m.engine", precision=precision) as segmenter:
            ran = segmenter.run(values, unit="db").report
            assert ran.engine.endswith(f"graph-{graph}.onnx")
            told = [note for note in ran.notes if "INT8 was judged on scenes" in note]
            assert len(told) == (graph != "fp32") and all("VH +" in note.split("lies further")[1] for note in told)
    assert main(["verify", str(tmp_path / "m.engine"), "--against", str(checkpoint), "--data", "simulated", "--max-flips",
                 "0.9", "--max-iou", "0.9", "--max-logits", "9", "--min-pixels", "1000", "--report",
                 str(tmp_path / "page")]) == 0
    steps = capsys.readouterr().err.splitlines()
    assert "graph-fp32.onnx, graph-int8-cpu.onnx" in steps[0] and steps[-1].startswith("judging the package")
    part = write_tif(tmp_path / "part.tif", np.random.default_rng(0).gamma(4, 0.02, (2, 200, 200)).astype(np.float32))
    words = ["verify", str(tmp_path / "m.engine"), "--against", str(checkpoint), "--data", str(part), "--unit", "intensity", "--max-flips", "1e-9",
             "--quiet"]
    assert main([*words, "--min-pixels", "1000"]) == 3
    assert "no longer says" in capsys.readouterr().err
    assert main(words) == 1
    assert "valid pixels in 1 scene, and 1,000,000 are needed" in (said := capsys.readouterr().err) and "a lower --min-pixels" in said
    page = (tmp_path / "page" / "gate.html").read_text()
    assert "<p class=failed>WARNING: judged on 2 scenes: on others many times more" in page
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


@pytest.mark.parametrize(("names", "offsets", "warned"), [
    (("a", "b", "c", "d"), {"VV": (-1.0, 2.0), "VH": (0.4, 0.6)}, ()), (("a", "b", "c", "d"), {"VV": (-1.0, 2.0), "VH": (0.6, 0.7)}, ("data in VH, all to one",)),
    (("a",), {}, ("judged on 1 scene: ",)), (("simulated 1", "simulated 3"), {}, ("judged on 2 scenes: ", "simulated scenes alone"))])
def test_scenes_that_are_few_or_unlike_the_training_are_warned_of(names, offsets, warned):
    told = [line for line in told_of(names, offsets) if line.startswith("WARNING")]
    assert len(told) == len(warned) and all(word in line for word, line in zip(warned, told))
