"""Ranges of quantisation-aware training: read from the sidecar, put where they belong, refused where they do not fit."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from lessons import config, silent
from networks import exported
from onnx import numpy_helper
from quantized import LOOSE, options
from test_quantize import tile

from hfd_edge.cli import main
from hfd_edge.errors import ExportError, GateError
from hfd_edge.export import export_package
from hfd_edge.export.calibration import calibrate
from hfd_edge.export.parity import Thresholds
from hfd_edge.export.qat_ranges import trained_ranges
from hfd_edge.export.quantize_cpu import to_int8_cpu
from hfd_edge.export.quantize_trt import to_int8_trt
from hfd_edge.package import Package
from training.batches import open_data
from training.qat import tune
from training.student import save, train_student

SMALL = ("resnet10t", 16, "none")


def record(top=1.5, **changes):
    """A sidecar's provenance after `python -m training qat`."""
    net = exported(*SMALL)[0]
    names = [name for name, module in net.named_modules() if isinstance(module, torch.nn.ReLU)]
    return {"qat": {"weight_bits": 7, "activation_bits": 8, "activation_max": {name: top for name in names}, **changes}}


@pytest.mark.parametrize("variant", [SMALL, ("resnet18", 8, "local"), ("resnet18", 16, "flow"), ("efficientnet_lite0", 16, "local"),
                                     ("regnetx_002", 16, "local")], ids=lambda v: v[0])
def test_every_relu_of_a_network_is_a_tensor_of_its_name_with_its_values(variant):
    """The mapping from modules to tensors, value by value: nothing but names joins training and export."""
    net, graph = exported(*variant)
    seen = {}
    hooks = [module.register_forward_hook(lambda module, taken, out, name=name: seen.update({name: out.numpy().copy()}))
             for name, module in net.named_modules() if isinstance(module, (torch.nn.ReLU, torch.nn.ReLU6))]
    pixels = tile()[None]
    with torch.no_grad():
        net(torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    model = onnx.load_from_string(graph)
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    assert seen and {made[name] for name in seen} <= {"Relu", "Clip"}
    from hfd_edge.export.calibration import _observer
    names, run = _observer(graph)
    values = dict(zip(names, run(pixels[0])))
    for name, expected in seen.items():
        assert np.abs(values[name] - expected).max() <= 1e-4 * max(1, np.abs(expected).max()), name


def test_trained_ranges_become_the_scales_of_both_graphs_and_calibration_keeps_the_others():
    graph = exported(*SMALL)[1]
    calibrated = calibrate(graph, [tile()])
    trained = trained_ranges(record(top=1.5))
    ranges = trained.onto(calibrated, graph)
    assert set(ranges.trained) == {*trained.largest} and all(ranges.tensors[name] == (0.0, 1.5) for name in ranges.trained)
    assert all(ranges.tensors[name] == ends for name, ends in calibrated.tensors.items() if name not in ranges.trained)
    for made, levels in ((to_int8_cpu(graph, ranges), 255), (to_int8_trt(graph, ranges), 127)):
        scales = {float(numpy_helper.to_array(t)) for t in onnx.load_from_string(made).graph.initializer
                  if t.data_type == onnx.TensorProto.FLOAT and not t.dims}
        assert any(abs(scale - 1.5 / levels) < 1e-7 for scale in scales)
    assert ranges.from_dict(json.loads(json.dumps(ranges.to_dict()))) == ranges


def test_notes_say_what_differs_from_the_training():
    graph = exported(*SMALL)[1]
    calibrated = calibrate(graph, [20 * tile()])
    trained = trained_ranges(record(top=0.01, weight_bits=8))
    first, beyond, bits = trained.notes(calibrated, 7)
    assert "ranges are those of quantisation-aware training" in first
    assert "reach beyond" in beyond and "cut there" in beyond and "weights of 8 bits" in bits
    assert len(trained_ranges(record(top=1e6)).notes(calibrated, 7)) == 1


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda r: r["qat"].pop("activation_max"), "activation_max"),
    (lambda r: r["qat"].update(activation_max=[1.0]), "cannot be read"),
    (lambda r: r["qat"].update(activation_bits=6), "have 8, so this network learnt another grid"),
    (lambda r: r["qat"]["activation_max"].update({"fuse.2": float("nan")}), "nan for 'fuse.2'"),
    (lambda r: r["qat"]["activation_max"].update({"fuse.2": -1}), "-1.0 for 'fuse.2'"),
    (lambda r: r["qat"].update(activation_max={}), "nothing above 0"),
    (lambda r: r["qat"]["activation_max"].update({"decoder.7": 1.0}), "'decoder.7', which is no ReLU"),
    (lambda r: r["qat"]["activation_max"].pop("fuse.2"), "no range for the ReLU 'fuse.2'")])
def test_ranges_that_do_not_fit_are_one_clear_error(spoil, words):
    graph, provenance = exported(*SMALL)[1], record()
    spoil(provenance)
    with pytest.raises(ExportError, match=words) as caught:
        trained_ranges(provenance).onto(calibrate(graph, [tile()]), graph)
    assert "training qat" in str(caught.value)


def test_a_relu_that_never_spoke_keeps_its_calibrated_range_and_no_record_is_no_trouble():
    graph, provenance = exported(*SMALL)[1], record()
    provenance["qat"]["activation_max"] |= {"fuse.2": 0.0, "encoder.unused": 0.0}
    calibrated = calibrate(graph, [tile()])
    ranges = trained_ranges(provenance).onto(calibrated, graph)
    assert ranges.tensors["fuse.2"] == calibrated.tensors["fuse.2"] and "fuse.2" not in ranges.trained
    assert trained_ranges({"kind": "sar"}) is None


@pytest.mark.parametrize(("flips", "trained", "by_reads", "words"), [
    ((0.1, 0.2, 0.3), True, True, "the trained ones are taken"), ((0.2, 0.1, 0.3), True, False, "are taken, with weights rounded to the nearest"),
    ((0.2, 0.3, 0.1), False, True, "the calibrated ones are taken"), ((0.1, 0.1, 0.1), True, True, "the trained ones are taken")])
def test_what_flips_fewest_labels_is_taken_and_weights_may_be_rounded_as_in_training(flips, trained, by_reads, words, monkeypatch):
    from hfd_edge.export import qat_ranges
    graph, order, made = exported(*SMALL)[1], iter(flips), []
    monkeypatch.setattr(qat_ranges, "_flips", lambda *_: next(order))
    calibrated = calibrate(graph, [tile()])
    taken, notes = qat_ranges.chosen_ranges(graph, (calibrated, trained_ranges(record())), lambda _, ranges: made.append(ranges), [], 7)
    assert (bool(taken.trained), bool(taken.reads)) == (trained, by_reads) and words in notes[0]
    assert [(bool(each.trained), bool(each.reads)) for each in made] == [(True, True), (True, False), (False, True)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """(checkpoint of a small student, the same after quantisation-aware training), on simulated pairs."""
    work = tmp_path_factory.mktemp("taught")
    run = config(work, data={"options": {"side_px": 128, "train": 6}, "crop_px": 64}, loop={"steps": 60, "threads": 2},
                 qat={"steps": 20, "rate": 1e-4, "weight_bits": 7})
    data = open_data(run)
    save(work / "student", train_student(run, data, log=silent), run, data, {"kind": "sar"})
    tune(run, data, silent)
    return work / "student.safetensors", work / "student-qat.safetensors"


def provenance_of(engine):
    with Package.open(engine) as package:
        return package.manifest["provenance"]


def changed(source, folder, change):
    """A copy of a checkpoint whose provenance.qat was changed, or taken out."""
    sidecar = json.loads(source.with_suffix(".json").read_text())
    change(sidecar["provenance"])
    copy = folder / "changed.safetensors"
    copy.write_bytes(source.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps(sidecar))
    return copy


def cut(provenance):
    """A tenth of each trained range: activations are cut as they never were in training."""
    largest = provenance["qat"]["activation_max"]
    provenance["qat"]["activation_max"] = {name: top / 10 for name, top in largest.items()}


@pytest.mark.slow
def test_with_trained_ranges_offered_int8_flips_no_more_labels_than_with_calibration_alone(taught, tmp_path, small):
    """The same weights twice: the sidecar's ranges may help, and where they do not they are not taken."""
    tuned = taught[1]
    plain = changed(tuned, tmp_path, lambda provenance: provenance.pop("qat"))
    flips = [export_package(path, tmp_path / f"{number}.engine", options()).gate.graphs["graph-int8-cpu.onnx"].flip_rate
             for number, path in enumerate((tuned, plain))]
    assert flips[0] <= flips[1] + 5e-4, flips           # chosen on calibration tiles, judged on others
    said = " ".join(provenance_of(tmp_path / "0.engine")["gate"]["notes"])
    assert "with the ranges of quantisation-aware training" in said and "are taken" in said
    assert "aware training" not in " ".join(provenance_of(tmp_path / "1.engine")["gate"]["notes"])


@pytest.mark.slow
def test_the_manifest_names_the_trained_ranges_that_were_taken(taught, tmp_path, small, monkeypatch):
    from hfd_edge.export import qat_ranges
    order = iter((0.1, 0.2, 0.2))                            # as if the trained ranges had flipped fewer labels
    monkeypatch.setattr(qat_ranges, "_flips", lambda *_: next(order))
    report = export_package(taught[1], tmp_path / "m.engine", options())
    made_of = provenance_of(tmp_path / "m.engine")
    known = {name: top for name, top in made_of["training"]["qat"]["activation_max"].items() if top > 0}
    assert set(made_of["calibration"]["trained"]) == set(known)
    assert all(made_of["calibration"]["tensors"][name] == [0.0, top] for name, top in known.items())
    assert "the trained ones are taken" in str(report) and "activation ranges are those of" in str(report)


@pytest.mark.slow
def test_ranges_that_are_not_the_networks_own_are_not_taken_and_would_have_failed_the_gate(taught, tmp_path, small, monkeypatch):
    """Negative control, with the choice and without it."""
    from hfd_edge.export import qat_ranges
    spoilt, strict = changed(taught[1], tmp_path, cut), replace(LOOSE, flips=0.05)
    report = export_package(spoilt, tmp_path / "m.engine", options(thresholds=strict))
    assert report.gate.passed and "the calibrated ones are taken" in str(report)
    assert provenance_of(tmp_path / "m.engine")["calibration"]["trained"] == []
    monkeypatch.setattr(qat_ranges, "_flips", lambda *_: 0.0)
    with pytest.raises(GateError, match="graph-int8-cpu.onnx: label flips") as caught:
        export_package(spoilt, tmp_path / "n.engine", options(thresholds=strict))
    assert "scenes like those of the training" in str(caught.value) and not (tmp_path / "n.engine").exists()


@pytest.mark.slow
def test_the_fallback_is_float_convolutions_first_and_then_a_message_that_names_the_training(taught, tmp_path, small, capsys):
    never = Thresholds(flips=1e-9, iou=0.9, logits=9.0, min_pixels=1000)
    with pytest.raises(GateError, match=r"in float did not help.*python -m training qat CONFIG"):
        export_package(taught[0], tmp_path / "m.engine", options(thresholds=never))
    evidence = json.loads((tmp_path / "m.engine.quarantine" / "gate.json").read_text())
    assert evidence["sensitivity"] and any("kept in float" in note for note in evidence["notes"])
    code = main(["export", str(taught[0]), "-o", str(tmp_path / "n.engine"), "--calibration", "simulated"])
    assert code == 1 and "are left to judge on" in capsys.readouterr().err      # the CLI's own thresholds: too few pixels
