"""After retraining, one command: the new engine knows the one it replaces, and both have run over the same scenes."""

import json

import pytest
import torch
from networks import network
from test_export import SPEC

from hfd_edge.cli import main
from hfd_edge.export import calibration_data, compare_page
from hfd_edge.network import save_checkpoint
from hfd_edge.package import Package


@pytest.fixture
def two_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_data, "_SIMULATED_PX", 1088)
    monkeypatch.setattr(calibration_data, "_SIMULATED_SCENES", 2)
    net = network(max_stride=8)
    save_checkpoint(tmp_path / "first", net, SPEC, {})
    with torch.no_grad():
        net.classifier.bias[0] += 0.05
    save_checkpoint(tmp_path / "second", net, SPEC, {})
    return tmp_path / "first.safetensors", tmp_path / "second.safetensors"


def test_the_replacement_keeps_its_line_and_a_report_of_old_against_new(two_checkpoints, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_page, "less_accurate", lambda found: f"LESS ACCURATE than {found.old}")
    first, second = two_checkpoints
    old, new = tmp_path / "old.engine", tmp_path / "new.engine"
    assert main(["export", str(first), "-o", str(old), "--quiet"]) == 0
    assert main(["export", str(second), "-o", str(new), "--replaces", str(old), "--calibration", "simulated", "--precision",
                 "fp32", "--qgis", str(tmp_path / "qgis.onnx"), "--json"]) == 0
    said = capsys.readouterr()
    printed = json.loads(said.out.splitlines()[-1])
    assert said.err.splitlines()[-1] == printed["less_accurate"] == (
        f"WARNING: {new} is LESS ACCURATE than {old}; it was written all the same, and {old} is as it was")
    assert "labels flip" in printed["compared"] and (tmp_path / "qgis.onnx").is_file()
    with Package.open(old) as before, Package.open(new) as now:
        lineage = now.manifest["provenance"]["lineage"]
        assert lineage == {"version": 2, "replaces": before.engine_hash, "parents": [before.engine_hash]}
    report = json.loads((tmp_path / "new.engine.compare" / "report.json").read_text())
    assert report["flips"] > 0 and "descends from version 1" in report["relation"]
    assert main(["inspect", "--diff", str(old), str(new)]) == 0 and "lineage.version" in capsys.readouterr().out


def test_what_cannot_be_replaced_is_said_before_anything_is_written(two_checkpoints, tmp_path, capsys):
    first, second = two_checkpoints
    old = tmp_path / "old.engine"
    assert main(["export", str(first), "-o", str(old), "--quiet"]) == 0
    assert main(["export", str(second), "-o", str(old), "--replaces", str(old), "--overwrite"]) == 2
    assert "is the output itself" in capsys.readouterr().err
    other = {**SPEC, "classes": [f"other {name}" for name in SPEC["classes"]]}
    save_checkpoint(tmp_path / "third", network(max_stride=8), other, {})
    assert main(["export", str(tmp_path / "third"), "-o", str(tmp_path / "third.engine"), "--replaces", str(old)]) == 1
    assert "same bands and classes" in capsys.readouterr().err and not (tmp_path / "third.engine").exists()
