"""A training that goes on from an earlier student, and networks that are refused before they are trained."""

import json

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import tiny_sets  # noqa: E402
from hfd_edge.errors import CheckpointError  # noqa: E402
from lessons import NETWORK, config, data, equal, silent  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.batches import open_data  # noqa: E402
from training.config import load_config  # noqa: E402
from training.schema import ConfigError  # noqa: E402
from training.student import new_student, train_student, train_teacher, weights_record  # noqa: E402

CLASSES = {"water": 0, "land": 1}


def area(root, low, high, classes=None, bands=("VV", "VH"), unit="db"):
    """A set of a folder, its values between `low` and `high`, and the file of its run."""
    for number in range(10):
        name = f"p{number:02d}"
        tiny_sets.write(root / "sar" / f"{name}.tif", tiny_sets.pixels(2, number, low=low, high=high, side=32))
        tiny_sets.write(root / "label" / f"{name}.tif", np.random.default_rng(number).integers(0, 2, (32, 32)).astype(np.uint8))
    info = {"name": root.name, "bands": list(bands), "unit": unit, "classes": classes or CLASSES, "quantity": "dn" if unit == "dn" else "gamma0"}
    (root / "set.yaml").write_text(yaml.safe_dump(info, sort_keys=False))
    run = {"name": root.name, "work": str(root / "work"), "network": NETWORK, "distil": {"weight": 0.0}, "evaluate": {"panels": 0},
           "data": {"layout": "folder", "root": str(root), "crop_px": 32, "batch": 4, "workers": 0},
           "loop": {"steps": 4, "log_every": 100, "threads": 1, "save_every": 2}}
    (root / "run.yaml").write_text(yaml.safe_dump(run))
    return root


def said(capsys, *words):
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


@pytest.fixture
def first(tmp_path, capsys):
    """A student of one area."""
    root = area(tmp_path / "first", -20, 0)
    assert said(capsys, "student", root / "run.yaml")[0] == 0
    return root / "work" / "student"


def test_a_student_goes_on_from_an_earlier_one_and_keeps_its_pixels(first, tmp_path, capsys):
    second = area(tmp_path / "second", -30, -10)
    code, out, error = said(capsys, "student", second / "run.yaml", f"start={first}", "loop.rate=1e-9", "loop.average=0")
    assert code == 0, error
    assert "start: " in out and "pixels stay normalised as it learnt them, mean -10" in out and "this set: -20" in out
    old, new = (json.loads(path.with_suffix(".json").read_text()) for path in (first, second / "work" / "student"))
    assert new["spec"]["input"]["mean"] == old["spec"]["input"]["mean"] and new["spec"]["input"]["clip"] == old["spec"]["input"]["clip"]
    assert new["provenance"]["start"]["checkpoint"] == "student" and len(new["provenance"]["start"]["sha256"]) == 64
    assert "start" not in new["provenance"]["config"] and str(tmp_path) not in json.dumps(new)
    one, other = (load_file(path.with_suffix(".safetensors")) for path in (first, second / "work" / "student"))
    weights = [name for name in one if name.endswith("weight")]
    assert weights and all(torch.allclose(one[name], other[name], atol=1e-6) for name in weights)
    again = said(capsys, "evaluate", second / "run.yaml", f"start={first}")
    assert again[0] == 0, again
    code, _, error = said(capsys, "evaluate", second / "run.yaml")
    assert code == 1 and "give the start= of that training" in error


def test_a_state_knows_where_its_run_started(first, tmp_path, capsys):
    second = area(tmp_path / "second", -30, -10)
    assert said(capsys, "student", second / "run.yaml", f"start={first}")[0] == 0
    moved = tmp_path / "elsewhere"
    for ending in (".json", ".safetensors"):
        moved.with_suffix(ending).write_bytes(first.with_suffix(ending).read_bytes())
    assert weights_record(config(start=str(first)))["start"]["sha256"] == weights_record(config(start=str(moved)))["start"]["sha256"]
    code, _, error = said(capsys, "student", second / "run.yaml")
    assert code == 1 and "start: " in error and "work=FOLDER" in error


def test_classes_are_taken_over_by_name_whatever_their_number(first, tmp_path, capsys):
    second = area(tmp_path / "second", -20, 0, {"ship": 2, "land": 1, "water": 0})
    lines = []
    run = load_config(second / "run.yaml", (f"start={first}",))
    net = new_student(run, open_data(run, lines.append))
    theirs = load_file(first.with_suffix(".safetensors"))
    own = net.state_dict()
    for layer in ("classifier.weight", "classifier.bias"):
        assert torch.equal(own[layer][1], theirs[layer][1]) and torch.equal(own[layer][2], theirs[layer][0])
        assert not any(torch.equal(own[layer][0], value) for value in theirs[layer])
    assert equal({k: v for k, v in own.items() if "classifier" not in k}, {k: v for k, v in theirs.items() if "classifier" not in k})
    assert any("from random numbers: ship" in line for line in lines)


@pytest.mark.parametrize("change, words", [
    ({"bands": ("VH", "VV")}, "sees the bands VV, VH in db, the set second has VH, VV in db"),
    ({"unit": "dn"}, "in dn"), ({}, "give the same (network.width)"), (None, "is not there")])
def test_a_checkpoint_that_does_not_fit_is_refused(first, tmp_path, capsys, change, words):
    second = area(tmp_path / "second", -20, 0, **(change or {}))
    start = tmp_path / "nowhere" if change is None else first
    code, _, error = said(capsys, "student", second / "run.yaml", f"start={start}", *(["network.width=12"] if change == {} else []))
    assert code == 1 and words in error and error.count("\n") == 1, error


def test_a_teacher_is_no_start(tmp_path):
    from training.student import save
    run = config()
    save(tmp_path / "teacher-0", train_teacher(run, data(), log=silent), run, data(), {"kind": "eo"})
    with pytest.raises(CheckpointError, match="a teacher made elsewhere is teacher.checkpoints"):
        open_data(config(tmp_path / "work", start=str(tmp_path / "teacher-0")))


def test_an_encoder_that_no_engine_can_be_made_of_is_refused_before_it_is_trained():
    with pytest.raises(ConfigError, match="network.encoder=efficientnet_b0: no engine could be made of it, so nothing was trained: reach is unbounded"):
        train_student(config(network={"encoder": "efficientnet_b0"}), data(), log=silent)


@pytest.mark.parametrize("encoder", ["resnet18", "regnetx_002", "efficientnet_lite0", "mobilenetv4_conv_small"])
def test_a_plain_encoder_is_not_in_doubt(encoder, monkeypatch):
    from hfd_edge.export import onnx
    from training.tileable import check_tileable
    monkeypatch.setattr(onnx, "to_onnx", lambda net: pytest.fail("export was asked"))
    check_tileable(new_student(config(network={"encoder": encoder, "max_stride": 16}), data()))
