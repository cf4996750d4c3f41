"""The same command once more: on pixels that have changed, beside another run of it, with keys that it does not depend on."""

import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from test_training_elsewhere import area, said  # noqa: E402
from tiny_sets import write  # noqa: E402
from training.state import StateError, StateFile  # noqa: E402

ALONE = ("distil.weight=0", "distil.logit_weight=0")


def relabelled(root, name):
    """Other labels of a pair, with as many pixels of each class."""
    import rasterio
    path = root / "label" / f"{name}.tif"
    with rasterio.open(path) as file:
        labels = file.read(1)
    write(path, labels[::-1].copy())
    assert not np.array_equal(labels, labels[::-1])


def test_labels_that_were_corrected_are_learnt_whatever_their_counts(tmp_path, capsys):
    root = area(tmp_path / "mine")
    assert said(capsys, "student", root, *ALONE)[0] == 0
    code, out, _ = said(capsys, "student", root, *ALONE)
    assert code == 0 and "state.pt: ended at step 2, nothing is trained" in out and "warning" not in out
    relabelled(root, "p03")
    code, out, error = said(capsys, "student", root, *ALONE)
    assert code == 1 and "measured anew" in out and "state of another run (statistics: " in error
    (root / "work/student/state.pt").unlink()
    assert said(capsys, "student", root, *ALONE)[0] == 0


def test_pairs_that_were_not_measured_and_have_changed_are_told_of(tmp_path, capsys):
    root = area(tmp_path / "mine")
    words = (*ALONE, "data.measured_pairs=2")                                 # p00 and p05 of six
    assert said(capsys, "student", root, *words)[0] == 0
    code, out, _ = said(capsys, "student", root, *words)
    assert code == 0 and "ended at step 2" in out and "warning" not in out
    relabelled(root, "p03")
    code, out, error = said(capsys, "student", root, *words)
    assert code == 0 and "warning: files of the data set have changed or were copied since" in out and "delete it to train anew" in out, error


def test_a_second_run_in_one_folder_is_refused_while_the_first_is_at_work(tmp_path, capsys):
    root = area(tmp_path / "mine")
    state = StateFile(root / "work/student", {})
    with state.held():
        code, _, error = said(capsys, "student", root, *ALONE)
        assert code == 1 and "trains there now" in error and f"process {os.getpid()}" in error and error.count("\n") == 1
        with pytest.raises(StateError, match="trains there now"), state.held():
            pass
    assert said(capsys, "student", root, *ALONE)[0] == 0
    assert not [path.name for path in (root / "work/student").iterdir() if path.name.startswith(".")]


def test_a_teacher_does_not_depend_on_what_it_teaches_or_on_other_teachers(tmp_path, capsys):
    root = area(tmp_path / "mine")
    assert said(capsys, "teacher", root)[0] == 0
    before = (root / "work/teacher-0.safetensors").read_bytes()
    code, out, error = said(capsys, "teacher", root, "distil.weight=0.5", "distil.tap=fused", "data.unlabelled_batch=3", "teacher.kinds=[eo,sar]")
    assert code == 0 and out.count("teacher-0/state.pt: ended at step 2") == 1 and "teacher-1/state.pt" not in out, error
    assert (root / "work/teacher-0.safetensors").read_bytes() == before


@pytest.mark.parametrize("words, pairs", [((), 6), (ALONE, 3)])
def test_a_student_names_the_pairs_that_it_learnt_from_without_their_labels(words, pairs, tmp_path, capsys):
    root = area(tmp_path / "mine")
    words = ("data.labelled_share=0.5", *words)
    assert said(capsys, "teacher", root, *words)[0] == 0 and said(capsys, "student", root, *words)[0] == 0

    def known(name):
        return len(json.loads((root / f"work/{name}.json").read_text())["provenance"]["trained_on"]["mine"].split())
    assert known("student") == pairs and known("teacher-0") == 3
