"""What a state of a run and a checkpoint are worth to the next command: nothing of another run is given for this one's."""

import json

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from lessons import RECORD  # noqa: E402
from test_training_commands import ROOT, run, said  # noqa: E402, F401


def test_a_fine_tuning_of_one_student_is_not_given_for_that_of_another(run, tmp_path, capsys):
    words = ("distil.weight=0", "qat.steps=2")
    assert said(capsys, "student", run, *words, "loop.steps=2")[0] == 0 and said(capsys, "qat", run, *words, "loop.steps=2")[0] == 0
    (tmp_path / "work/student/state.pt").unlink()
    assert said(capsys, "student", run, *words, "loop.steps=3")[0] == 0
    code, _, error = said(capsys, "qat", run, *words, "loop.steps=3")
    assert code == 1 and "student: '" in error and "delete the file to train anew" in error
    (tmp_path / "work/student-qat/state.pt").unlink()
    assert said(capsys, "qat", run, *words, "loop.steps=3")[0] == 0


def test_a_student_is_not_that_of_a_teacher_that_was_made_again_in_another_way(run, tmp_path, capsys):
    assert said(capsys, "teacher", run)[0] == 0 and said(capsys, "student", run)[0] == 0
    (tmp_path / "work/teacher-0/state.pt").unlink()
    assert said(capsys, "teacher", run, "teacher.steps=9")[0] == 0
    code, _, error = said(capsys, "student", run)
    assert code == 1 and "teachers: ['" in error and "nothing" not in error
    state = tmp_path / "work/student/state.pt"
    state.unlink()
    assert said(capsys, "student", run)[0] == 0
    saved = torch.load(state, weights_only=True)
    record = json.loads(saved["record"])
    del record["teachers"]
    torch.save({**saved, "record": json.dumps({**record, "taught": True}), "key": "of an older version"}, state)
    code, _, error = said(capsys, "student", run)
    assert code == 1 and "taught: True there, nothing here" in error and "not known to the version of hfd_edge that wrote the state: then delete it" in error


def test_labels_that_nothing_can_be_judged_by_are_refused_before_the_training(tmp_path, capsys):
    from test_layouts_folder import folder
    from tiny_sets import write
    folder(tmp_path / "mine")
    base = {"name": "mine", "work": str(tmp_path / "work"), "network": RECORD["network"], "distil": {"weight": 0.0}, "teacher": {"kinds": ["sar"]},
            "data": {"layout": "folder", "root": str(tmp_path / "mine"), "crop_px": 16, "batch": 2, "workers": 0}, "loop": {"steps": 2, "threads": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(base))
    for number in (2, 7):                                                     # all of select
        write(tmp_path / f"mine/label/p{number:02d}.tif", np.zeros((16, 16), np.uint8))
    for verb in ("student", "teacher"):
        code, _, error = said(capsys, verb, tmp_path / "mine.yaml")
        assert code == 1 and "none of the 2 pairs of the split select has a known label" in error
    assert not (tmp_path / "work/student").exists() and not (tmp_path / "work/teacher-0").exists()


def test_a_teacher_of_another_split_is_not_taken_for_one_of_this(tmp_path, capsys):
    from test_layouts_folder import describe, folder
    folder(tmp_path / "mine")
    base = {"name": "mine", "work": str(tmp_path / "work"), "network": RECORD["network"], "evaluate": {"panels": 0},
            "data": {"layout": "folder", "root": str(tmp_path / "mine"), "crop_px": 16, "batch": 2, "workers": 0}, "loop": {"steps": 2, "threads": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(base))
    assert said(capsys, "teacher", tmp_path / "mine.yaml")[0] == 0
    describe(tmp_path / "mine", split={"by": "names", "size": 2})
    code, _, error = said(capsys, "student", tmp_path / "mine.yaml")
    assert code == 1 and "trained on another set than this is now" in error and "it may have learnt what it is judged by" in error
    assert said(capsys, "student", tmp_path / "mine.yaml", f"teacher.checkpoints=[{tmp_path / 'work/teacher-0'}]")[0] == 0


def test_label_codes_that_a_judgement_would_end_on_are_found_before_the_training(tmp_path, capsys):
    from test_layouts_folder import folder
    from tiny_sets import write
    folder(tmp_path / "mine")
    base = {"name": "mine", "work": str(tmp_path / "work"), "network": RECORD["network"], "distil": {"weight": 0.0},
            "data": {"layout": "folder", "root": str(tmp_path / "mine"), "crop_px": 16, "batch": 2, "workers": 0}, "loop": {"steps": 2, "threads": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(base))
    for number in (7, 9):                                                     # of select and of test
        good = (tmp_path / f"mine/label/p{number:02d}.tif").read_bytes()
        write(tmp_path / f"mine/label/p{number:02d}.tif", np.full((16, 16), 77, np.uint8))
        code, out, error = said(capsys, "student", tmp_path / "mine.yaml")
        assert code == 1 and f"pair p{number:02d}: label codes [77] are not known" in error and "step" not in out
        (tmp_path / f"mine/label/p{number:02d}.tif").write_bytes(good)
    assert said(capsys, "student", tmp_path / "mine.yaml")[0] == 0


def test_a_student_whose_set_has_another_split_now_is_judged_with_a_warning(tmp_path, capsys):
    from test_training_start import area
    first = area(tmp_path / "first", -20, 0) / "run.yaml"
    second = area(tmp_path / "second", -20, 0)
    assert said(capsys, "student", first)[0] == 0
    words = ("student", second / "run.yaml", f"start={tmp_path / 'first' / 'work' / 'student'}")
    code, out, _ = said(capsys, *words)
    assert code == 0 and "may have been trained on" not in out
    text = (second / "set.yaml").read_text()
    (second / "set.yaml").write_text(text + "split: {by: names, size: 2}\n")
    for verb in ("evaluate", "qat"):
        code, out, _ = said(capsys, verb, *words[1:], "qat.steps=1")
        assert code == 0 and "warning: " in out and "what judges it now it may have been trained on" in out


def test_a_package_of_other_bands_does_not_judge_a_set(tmp_path):
    from dataclasses import replace

    from hfd_edge.errors import CheckpointError
    from lessons import data
    from training.evaluate import package_answer
    demo = ROOT / "hfd_edge/data/demo.engine"
    own = data()
    assert package_answer(demo, own)(own.pairs.read(own.pairs.names("test")[0])).shape == (64, 64)
    turned = replace(own, pairs=type("Turned", (), {"info": replace(own.info, bands=own.info.bands[::-1])})())
    with pytest.raises(CheckpointError, match=r"bands \['VV', 'VH'\] .* the data set has \['VH', 'VV'\]"):
        package_answer(demo, turned)
