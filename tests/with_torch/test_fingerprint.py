"""Kept statistics are those of the files as they are: no change below data.root goes unseen, and a run's own products are none."""

import json
import os
import shutil

import pytest

torch = pytest.importorskip("torch")

from test_statistics import Gamma  # noqa: E402
from training.fingerprint import fingerprint  # noqa: E402
from training.pairs import DataError  # noqa: E402
from training.statistics import measured  # noqa: E402


@pytest.fixture
def root(tmp_path):
    (tmp_path / "set" / "sar").mkdir(parents=True)
    (tmp_path / "set" / "sar" / "p.tif").write_bytes(b"1234")
    return tmp_path / "set"


def touch(path):
    """Another modification time, as pixels that change in place leave it."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 5))


def test_a_fingerprint_follows_size_and_time_of_the_files_and_no_run_s_own(root, tmp_path):
    work, first = root / "runs" / "a", fingerprint(root, root / "runs" / "a")
    measured(Gamma(), root / "runs" / "b" / "statistics.json")
    for folder, file in ((work, "student.json"), (root / "runs" / "b", "student.json"), (root / ".git", "index")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    assert fingerprint(root, work) == first
    touch(root / "sar" / "p.tif")
    second = fingerprint(root, work)
    (root / "sar" / "q.tif").symlink_to(root / "nowhere.tif")
    (root / "sar" / "r.tif").symlink_to(root / "sar" / "r.tif")
    assert second != first and fingerprint(root, work) == second
    shutil.copytree(root / "sar", tmp_path / "moved" / "sar", symlinks=True)
    assert fingerprint(tmp_path / "moved", work) == second                                   # where it lies does not matter


def test_files_behind_a_link_to_a_folder_are_followed_and_circles_end(root, tmp_path):
    (root / "sar").rename(tmp_path / "elsewhere")
    (root / "sar").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(root)
    first = fingerprint(root, tmp_path / "work")
    touch(tmp_path / "elsewhere" / "p.tif")
    assert fingerprint(root, tmp_path / "work") != first


def test_a_link_that_points_to_another_folder_of_the_set_is_a_change(root, tmp_path):
    (root / "sar2").mkdir()
    (root / "used").symlink_to(root / "sar")
    first = fingerprint(root, tmp_path / "work")
    (root / "used").unlink()
    (root / "used").symlink_to(root / "sar2")
    assert fingerprint(root, tmp_path / "work") != first


def test_where_the_set_is_the_work_folder_only_the_run_s_products_are_left_out(root):
    measured(Gamma(), root / "statistics.json")
    first = fingerprint(root, root)
    for name in ("student.json", "student.safetensors", "student/log.csv", "student-qat.json", "teacher-0/state.pt", "teacher-0.safetensors", "report.md",
                 "report.html", "report.json", "class-pixels.json", "curves-student.png", "select-teacher-0.png", "example-3.png", "ablation.md", "cells/alone.json",
                 "scenes/a.tif"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    assert fingerprint(root, root) == first == fingerprint(root, root / "other")             # another run's products neither
    touch(root / "sar" / "p.tif")
    assert fingerprint(root, root) != first


@pytest.mark.parametrize("is_own", [True, False])
def test_data_in_a_work_folder_are_data(is_own, root, tmp_path):
    measured(Gamma(), root / "sar" / "statistics.json")
    first = fingerprint(root, root / "sar" if is_own else tmp_path)
    touch(root / "sar" / "p.tif")
    assert fingerprint(root, root / "sar" if is_own else tmp_path) != first


@pytest.mark.parametrize("text", ["", "{", "[1]", json.dumps({"mean": 3}), json.dumps("key hash class_counts"), "\xff"])
def test_a_file_of_the_set_s_own_called_statistics_json_hides_nothing(text, root, tmp_path):
    (root / "sar" / "statistics.json").write_text(text, encoding="latin-1")
    first = fingerprint(root, tmp_path / "work")
    touch(root / "sar" / "p.tif")
    assert fingerprint(root, tmp_path / "work") != first


def test_what_cannot_be_looked_at_is_an_error_that_names_it(root, tmp_path, monkeypatch):
    def denied(path, *rest, **options):
        if str(path).endswith(hidden):
            raise PermissionError(13, "Permission denied", str(path))
        return here[rest_of](path, *rest, **options)
    here = {"scandir": os.scandir, "stat": os.stat}
    for rest_of, hidden in (("scandir", "sar"), ("stat", "p.tif")):
        with monkeypatch.context() as patch:
            patch.setattr(os, rest_of, denied)
            with pytest.raises(DataError, match=f"{hidden}: Permission denied.*make it readable"):
                fingerprint(root, tmp_path / "work")
