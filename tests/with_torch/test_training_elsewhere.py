"""A teacher made on another set: it is shown pixels as it learnt them, whatever the statistics of the set that it teaches."""

import json
import re

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import tiny_sets  # noqa: E402
from hfd_edge.errors import CheckpointError  # noqa: E402
from lessons import NETWORK, config, data, silent  # noqa: E402
from training import measures  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.ablate import _teacher_record, ablate  # noqa: E402
from training.batches import joined, make_batches, open_data  # noqa: E402
from training.config import changed, load_config  # noqa: E402
from training.evaluate import find_teacher  # noqa: E402
from training.loop import on_device  # noqa: E402
from training.measures import answer_of_all  # noqa: E402
from training.schema import ConfigError  # noqa: E402
from training.student import new_student, save, teacher_config, weights_record  # noqa: E402
from training.teacher import load_teacher  # noqa: E402
from training.trained_on import pairs_record  # noqa: E402

KINDS = ["eo", "sar", "eo+sar"]
SIDE = 32


def area(root, shift_db=0.0, brighter=0, unit="db", gain=1.0, eo_gain=1):
    """A set whose train pairs are shifted and whose select and test pairs are always the same (of five pairs the third and the fifth)."""
    for number in range(10):
        name, train = f"p{number:02d}", number % 5 not in (2, 4)
        sar = gain * (tiny_sets.pixels(2, number, low=-20, high=0, side=SIDE) + np.float32(shift_db * train))
        eo = eo_gain * tiny_sets.pixels(3, number, np.uint16, 0, 200, side=SIDE) + np.uint16(brighter * train)
        tiny_sets.write(root / "sar" / f"{name}.tif", sar)
        tiny_sets.write(root / "eo" / f"{name}.tif", eo)
        tiny_sets.write(root / "label" / f"{name}.tif", np.random.default_rng(number).integers(0, 2, (SIDE, SIDE)).astype(np.uint8))
    info = {"name": root.name, "bands": ["VV", "VH"], "eo_bands": ["R", "G", "B"], "unit": unit, "classes": {"water": 0, "land": 1},
            "quantity": "dn" if unit == "dn" else "gamma0"}
    (root / "set.yaml").write_text(yaml.safe_dump(info, sort_keys=False))
    run = {"name": root.name, "work": str(root / "work"), "network": NETWORK, "evaluate": {"panels": 0}, "distil": {"logit_weight": 1.0},
           "data": {"layout": "folder", "root": str(root), "crop_px": SIDE, "batch": 2, "workers": 0, "augment": {"nodata_wedge": 0.0}},
           "loop": {"steps": 2, "log_every": 100, "threads": 1}}
    (root / "run.yaml").write_text(yaml.safe_dump(run))
    return root


def said(capsys, verb, root, *words):
    code = main([verb, str(root / "run.yaml"), *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two sets of other statistics, and teachers of the first, by kind."""
    root = tmp_path_factory.mktemp("sets")
    first, second = area(root / "first"), area(root / "second", shift_db=5.0, brighter=100)
    for kind in KINDS:
        assert main(["teacher", str(first / "run.yaml"), f"teacher.kinds=[{kind}]", f"work={root / kind}"]) == 0
    return lambda kind: (first, second, root / kind / "teacher-0")


def copied(path, target):
    for ending in (".json", ".safetensors"):
        target.with_name(target.name + ending).write_bytes(path.with_suffix(ending).read_bytes())
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels_are_the_same_to_a_teacher_in_a_set_of_other_statistics(kind, made, monkeypatch):
    first, second, path = made(kind)
    lines, judged, lessons, real = [], [], [], measures.logits_of
    monkeypatch.setattr(measures, "logits_of", lambda net, image: judged.append(real(net, image)) or judged[-1])
    for root in (first, second):
        own = open_data(load_config(root / "run.yaml"))
        taught = load_teacher([path], own, lines.append)
        pair = own.pairs.read("p02")
        answer_of_all(taught.members, taught.kinds, own, taught.views)(pair)
        shown = taught.shown(own)
        batches = make_batches(load_config(root / "run.yaml"), type(shown)(shown.pairs, shown.statistics, ("p02", "p04"), (), shown.views), True, False)
        batch = on_device(batches.labelled.batch(0), torch.device("cpu"))
        lessons.append(taught.teach(batch).logits[0])
    assert torch.equal(*judged) and torch.equal(*lessons)
    answer_of_all(taught.members, taught.kinds, own)(pair)
    assert not torch.allclose(judged[2], judged[0], atol=1e-3), "by the numbers of this set it says something else"
    assert len(lines) == 1 and "sees pixels normalised as it learnt them" in lines[0]
    assert ("SAR mean -10" in lines[0] and "(this set: -5.0" in lines[0]) == ("sar" in kind) and ("optical mean 99" in lines[0]) == ("eo" in kind)


def test_a_student_under_a_teacher_of_another_set_is_trained_and_judged_from_the_command_line(made, capsys):
    first, second, path = made("eo+sar")
    code, out, error = said(capsys, "student", second, f"teacher.checkpoints=[{path}]", "data.labelled_share=0.5")
    assert code == 0, error
    assert "distilled from eo+sar" in out and out.count(f"teacher {path}: sees pixels normalised") == 1
    assert "teacher (eo+sar)" in json.loads((second / "work/report.json").read_text())["scores"]
    lines = []
    assert load_teacher([path], open_data(load_config(first / "run.yaml")), lines.append).views == (None,) and not lines


def test_two_batches_as_one_keep_what_a_teacher_of_another_set_is_shown(made):
    _, second, path = made("eo+sar")
    own = open_data(load_config(second / "run.yaml"))
    taught = load_teacher([path], own)
    batches = make_batches(load_config(second / "run.yaml"), taught.shown(own), True, False)
    one, other = batches.labelled.batch(0), batches.labelled.batch(1)
    apart = [taught.teach(batch).logits[0] for batch in (one, other)]
    torch.testing.assert_close(taught.teach(joined(one, other)).logits[0], torch.cat(apart), rtol=1e-4, atol=1e-5)


def test_a_teacher_from_before_the_record_says_whose_optical_numbers_are_taken(made, tmp_path):
    first, second, path = made("eo+sar")
    path = copied(path, tmp_path / "teacher-0")
    sidecar = path.with_suffix(".json")
    record = json.loads(sidecar.read_text())
    assert record["spec"]["eo_input"]["mean"] == pytest.approx([99.5] * 3, abs=2)
    del record["spec"]["eo_input"]
    sidecar.write_text(json.dumps(record))
    own, lines = open_data(load_config(second / "run.yaml")), []
    (view,) = load_teacher([path], own, lines.append).views
    assert view.eo_mean == own.statistics.eo_mean and view.sar.mean[0] == pytest.approx(-10, abs=0.2)
    assert len(lines) == 2 and "warning: " in lines[0] and "recorded optical numbers, so mean and spread of this set are taken" in lines[0]
    lines.clear()
    assert load_teacher([path], open_data(load_config(first / "run.yaml")), lines.append).views == (None,)
    assert not lines, "the hash of the data says that it is the same set"


@pytest.mark.parametrize("kind, change, words", [
    ("sar", {"unit": "dn"}, "its SAR pixels were learnt in db, this set gives dn"),
    ("eo", {"eo_gain": 50}, "its optical pixels were learnt with a spread of .*bring the optical files to the teacher's scale")])
def test_pixels_of_another_unit_or_scale_are_refused(kind, change, words, made, tmp_path, capsys):
    _, _, path = made(kind)
    other = area(tmp_path / "other", **change)
    code, _, error = said(capsys, "student", other, f"teacher.checkpoints=[{path}]")
    assert code == 1 and error.count("\n") == 1
    assert re.search(words, error)


def test_digital_numbers_of_another_scale_are_refused_as_a_start(tmp_path, capsys):
    first, second = area(tmp_path / "first", unit="dn", gain=1.0), area(tmp_path / "second", unit="dn", gain=40.0)
    run = load_config(first / "run.yaml")
    own = open_data(run)
    save(first / "student", new_student(run, own), run, own, {"kind": "sar"})
    code, _, error = said(capsys, "scenes", second, f"start={first / 'student'}")
    assert code == 1 and "is another scale, not another place; give scale in set.yaml" in error
    (second / "set.yaml").write_text((second / "set.yaml").read_text() + "scale: 0.025\n")
    assert said(capsys, "scenes", second, f"start={first / 'student'}")[0] == 0


def test_a_sidecar_that_does_not_hold_the_numbers_is_named(made, tmp_path):
    first, _, path = made("eo+sar")
    path = copied(path, tmp_path / "teacher-0")
    own, sidecar = open_data(load_config(first / "run.yaml")), path.with_suffix(".json")
    good = json.loads(sidecar.read_text())
    for change in ({"eo_input": {"mean": [1, 2], "std": [1, 1]}}, {"eo_input": {"mean": [0] * 3, "std": [0, 1, 1]}}, {"input": {"unit": "db"}}, {"eo_input": 3}):
        words = f"spec.{[*change][0]}"
        sidecar.write_text(json.dumps({**good, "spec": {**good["spec"], **change}}))
        with pytest.raises(CheckpointError, match=f"{words} of its sidecar"):
            load_teacher([path], own)


def test_a_state_knows_its_teachers_by_what_they_are(tmp_path):
    run = config()
    for place in ("one", "other", "third"):
        save(tmp_path / place / "teacher-0", new_student(config(seed=int(place == "third")), data()), run, data(), {"kind": "sar"})
    one, other, third = (weights_record(config(teacher={"checkpoints": [str(tmp_path / place / "teacher-0")]})) for place in ("one", "other", "third"))
    assert one == other != third and str(tmp_path) not in json.dumps(one)


def test_only_a_run_that_hears_a_teacher_asks_for_its_checkpoint():
    gone = {"checkpoints": ["gone/teacher-0"]}
    with pytest.raises(CheckpointError, match="gone/teacher-0.safetensors is not there"):
        weights_record(config(teacher=gone))
    assert weights_record(config(teacher=gone, distil={"weight": 0.0})) == weights_record(config(distil={"weight": 0.0}))
    assert teacher_config(config(teacher=gone)) == teacher_config(config()), "it may be the very teacher that is made now"


def test_a_teacher_made_without_the_start_of_its_student_keeps_its_pixels(made, tmp_path):
    first, second, path = made("sar")
    run = load_config(second / "run.yaml")
    save(tmp_path / "student", new_student(run, open_data(run)), run, open_data(run), {"kind": "sar"})
    started = load_config(first / "run.yaml", (f"start={tmp_path / 'student'}",))
    own = open_data(started)
    (view,) = load_teacher([path], own).views
    assert own.statistics.input.mean[0] == pytest.approx(-5, abs=0.2) and view.sar.mean[0] == pytest.approx(-10, abs=0.2)
    kinds = {kind: tuple(_teacher_record(changed(some, {"teacher": {"kinds": [kind]}}), 0) for some in (started, changed(started, {"start": None})))
             for kind in ("eo", "sar")}
    assert kinds["eo"][0] == kinds["eo"][1] and kinds["sar"][0] != kinds["sar"][1], "a finished cell of the table is of one normalisation"


def test_a_teacher_that_is_given_and_not_there_is_not_left_out(tmp_path, made, capsys):
    first, _, path = made("eo")
    run = load_config(first / "run.yaml")
    save(first / "work/student", new_student(run, open_data(run)), run, open_data(run), {"kind": "sar"})
    code, _, error = said(capsys, "evaluate", first, f"teacher.checkpoints=[{tmp_path / 'v1.2'}]")
    assert code == 1 and "v1.2.safetensors: there is no teacher; correct teacher.checkpoints" in error
    copied(path, tmp_path / "v1.2")
    run = load_config(first / "run.yaml", (f"teacher.checkpoints=[{tmp_path / 'v1.2'}]",))
    assert find_teacher(run, open_data(run)).kinds == ("eo",)


def test_a_table_of_its_own_teachers_takes_none_from_elsewhere(tmp_path):
    with pytest.raises(ConfigError, match="ablate trains teachers of its own"):
        ablate(config(tmp_path, teacher={"checkpoints": ["a/teacher-0"]}), silent)


def split_anew(root, target, name=None):
    """The files of a set, other pairs of which judge: what trained is the test."""
    for part in ("sar", "eo", "label"):
        (target / part).mkdir(parents=True)
        for path in sorted((root / part).iterdir()):
            (target / part / path.name).write_bytes(path.read_bytes())
    for split, numbers in (("train", (2, 4, 7)), ("select", (9, 1)), ("test", (0, 3, 5, 6))):
        (target / f"{split}.txt").write_text("".join(f"p{number:02d}\n" for number in numbers))
    info = yaml.safe_load((root / "set.yaml").read_text())
    (target / "set.yaml").write_text(yaml.safe_dump({**info, "name": name or info["name"], "split": {"by": "lists"}}, sort_keys=False))
    run = yaml.safe_load((root / "run.yaml").read_text())
    (target / "run.yaml").write_text(yaml.safe_dump({**run, "work": str(target / "work"), "data": {**run["data"], "root": str(target)}}))
    return target


@pytest.mark.parametrize("name, known", [(None, True), ("another place", False)])
def test_a_teacher_that_learnt_from_pairs_which_judge_now_is_told_of(made, tmp_path, name, known):
    first, _, path = made("eo")
    lines, anew = [], split_anew(first, tmp_path / "anew", name)
    load_teacher([path], open_data(load_config(anew / "run.yaml")), lines.append)
    told = [line for line in lines if "learnt from" in line]
    assert len(told) == known
    assert all(f"warning: {path} learnt from 1 of the 2 pairs of select (e.g. p01) and 4 of the 4 pairs of test (e.g. p00): figures" in line for line in told)


def test_a_student_tells_of_the_pairs_of_all_that_it_began_with(made, tmp_path, capsys):
    first, second, _ = made("eo")
    alone = ("distil.weight=0", "distil.logit_weight=0")
    assert said(capsys, "student", first, *alone, f"work={tmp_path / 'one'}")[0] == 0
    code, out, error = said(capsys, "student", second, *alone, f"work={tmp_path / 'two'}", f"start={tmp_path / 'one/student'}")
    assert code == 0 and "learnt from" not in out, (out, error)
    anew = split_anew(first, tmp_path / "anew")
    code, out, error = said(capsys, "student", anew, *alone, f"start={tmp_path / 'two/student'}")
    assert code == 0 and f"warning: {tmp_path / 'two/student'} learnt from 1 of the 2 pairs of select" in out, (out, error)
    record = json.loads((tmp_path / "two/student.json").read_text())["provenance"]["trained_on"]
    assert {name: len(line.split()) for name, line in record.items()} == {"first": 6, "second": 6}
    sidecar = copied(tmp_path / "two/student", tmp_path / "spoilt").with_suffix(".json")
    spoilt = json.loads(sidecar.read_text())
    spoilt["provenance"]["trained_on"] = {"first": 3}
    sidecar.write_text(json.dumps(spoilt))
    code, _, error = said(capsys, "student", anew, *alone, f"start={tmp_path / 'spoilt'}", f"work={tmp_path / 'three'}")
    assert code == 1 and "provenance.trained_on of its sidecar" in error and "nobody knows which pairs it learnt from" in error


def test_pairs_of_one_set_that_two_trainings_chose_are_all_named():
    first = pairs_record("a", ("p1", "p2"), {"b": "0123456789ab"})
    both = pairs_record("a", ("p2", "p3"), first)
    assert both["b"] == "0123456789ab" and both["a"].split() == sorted({*first["a"].split(), *pairs_record("a", ("p3",), {})["a"].split()})
    assert len(both["a"].split()) == 3
