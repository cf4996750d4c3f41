"""`inspect` shows what a reader looks for; `--all` shows every range and figure."""

import json

import pytest

from hfd_edge.export.lineage import Difference, differences
from hfd_edge.package import Package
from tests.command import run
from tests.test_compare import engine

LONG = {"calibration": {"method": "minmax", "tensors": {f"t{number}": [0.0, float(number)] for number in range(40)}},
        "gate": {"passed": True, "graphs": {"graph-int8-cpu.onnx": {
            "flip_rate": 0.00372, "flip_bound": 0.00435, "pixels": 1000, "passed": True, "logit_error": {"0.5": 1.0}}}},
        "halo_curve": [{"halo_px": number} for number in range(30)], "note": "x" * 300}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    first = engine(folder / "a.engine", LONG)
    changed = json.loads(json.dumps(LONG))
    changed["calibration"]["tensors"]["t3"], changed["gate"]["graphs"]["graph-int8-cpu.onnx"]["flip_rate"], changed["note"] = [0.0, 9.0], 0.005, "y"
    changed["gate"]["graphs"]["graph-int8-cpu.onnx"]["logit_error"]["0.5"] = 2.0
    return first, engine(folder / "b.engine", changed)


def test_long_records_are_counted_and_the_gate_is_a_line_a_graph(pair):
    shown = run("inspect", pair[0]).stdout
    assert "tensors: 40 entries (--all shows them)" in shown and "halo_curve: 30 entries (--all shows them)" in shown
    assert "graph-int8-cpu.onnx: 0.372% of 1000 labels flip, bound 0.435%: passed" in shown
    assert "(300 characters, --all shows them)" in shown and "t39" not in shown and "logit_error" not in shown


def test_all_shows_everything(pair):
    shown = run("inspect", pair[0], "--all").stdout
    assert "t39: [0.0, 39.0]" in shown and "0.5: 1.0" in shown and "x" * 300 in shown


def test_differences_of_ranges_are_counted_and_flips_shown(pair):
    short, whole = (run("inspect", "--diff", *pair, *more).stdout for more in ((), ("--all",)))
    assert "flip_rate\n  - 0.00372\n  + 0.005" in short and "provenance.note" in short and "tensors.t3" not in short
    assert "and 2 of calibration ranges, sensitivity and the gate's figures (--all shows them)" in short
    assert "tensors.t3" in whole and "logit_error.0.5" in whole and "--all" not in whole


def test_an_object_that_one_engine_has_not_is_one_difference(pair, tmp_path):
    bare = engine(tmp_path / "bare.engine", {"calibration": {"method": "minmax"}, "training": {"config": {str(number): number for number in range(70)}}})
    short = run("inspect", "--diff", bare, pair[0]).stdout
    assert "provenance.training\n  - 70 values (--all shows them)\n  + not there" in short
    assert "provenance.calibration.tensors\n  - not there\n  + 40 values" in short and "provenance.gate\n  - not there\n  + 6 values" in short
    assert len(short.splitlines()) < 40
    with Package.open(bare) as old, Package.open(pair[0]) as new:
        assert Difference("provenance.training.config.69", "69", None) in differences(old, new)


def test_the_keys_of_a_training_are_counted(tmp_path):
    keys = {"seed": 7, "loop": {"steps": 4000, "rate": 0.003}, "data": {"options": {}}}
    trained = engine(tmp_path / "trained.engine", {"training": {"config": keys, "kind": "sar"}})
    short, whole = (run("inspect", trained, *more).stdout for more in ((), ("--all",)))
    assert "config: 4 keys (--all shows them)" in short and "kind: sar" in short and "4000" not in short
    assert "steps: 4000" in whole
