"""A file is written whole or not at all, and what a killed writer left the next one takes away."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfd_edge.durable import write_whole
from hfd_edge.errors import RasterError
from hfd_edge.raster import write_bytes
from tests.engines import random_engine
from tests.test_durable import write_labels

ROOT = Path(__file__).resolve().parent.parent
BESIDE = """
import os, signal, sys, time
from pathlib import Path
from hfd_edge.durable import beside
with beside(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(60)
"""


def half_written(path):
    child = subprocess.Popen([sys.executable, "-c", BESIDE, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout.readline() == "begun\n"
    return child


@pytest.mark.parametrize("write, name", [(write_labels, "labels.npy"), (random_engine, "m[1].engine"), (lambda path: write_whole(path, b"1"), "a.json")])
def test_the_next_writer_takes_away_what_killed_ones_left_and_nothing_of_one_at_work(tmp_path, write, name):
    killed, other, at_work = half_written(tmp_path / name), half_written(tmp_path / f"x.{name}"), half_written(tmp_path / name)
    for each in (killed, other):
        each.kill()
        each.communicate(timeout=60)
    assert len(left := {*tmp_path.iterdir()}) == 3 and not (tmp_path / name).exists(), "a kill leaves nothing under the name"
    kept = tmp_path / f".{name}.notes.partial", tmp_path / f".{name}.0123abcd.partial"
    kept[0].write_text("not ours")
    kept[1].mkdir()
    write(tmp_path / name)
    there = {*tmp_path.iterdir()}
    assert {tmp_path / name, *kept} <= there and len(there & left) == 2 and len(there) == 5, "of the one at work, and of the other name"
    at_work.kill()
    at_work.communicate(timeout=60)
    write_whole(tmp_path / name, b"2")
    assert len({*tmp_path.iterdir()} & left) == 1


def test_a_file_that_is_taken_for_a_killed_ones_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    lock, taken = fcntl.flock, []

    def flock(descriptor, how):
        if not taken:
            taken.append([each.unlink() for each in tmp_path.iterdir()])        # between opening and locking
        lock(descriptor, how)
    monkeypatch.setattr(fcntl, "flock", flock)
    write_whole(tmp_path / "a.json", b"whole")
    assert taken == [[None]] and [each.read_bytes() for each in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EBADF, errno.EIO])
def test_without_locks_files_are_written_and_what_is_left_stays_and_a_broken_disk_is_told(tmp_path, monkeypatch, refusal):
    def flock(descriptor, how):
        raise OSError(refusal, "said the file system")
    monkeypatch.setattr(fcntl, "flock", flock)
    left = tmp_path / ".a.json.0123abcd.partial"
    left.write_bytes(b"half")
    if refusal == errno.EIO:
        with pytest.raises(OSError, match="said the file system"):
            write_whole(tmp_path / "a.json", b"whole")
    else:
        write_whole(tmp_path / "a.json", b"whole")
    assert {*tmp_path.iterdir()} == {left, *([] if refusal == errno.EIO else [tmp_path / "a.json"])}


def test_a_name_that_is_taken_meanwhile_is_not_replaced_unless_asked(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    monkeypatch.setattr(os, "fsync", lambda number: path.write_bytes(b"theirs"))
    with pytest.raises(RasterError, match="a.json appeared while"):
        write_bytes(path, b"ours", overwrite=False)
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"theirs")]
    write_bytes(path, b"ours", overwrite=True)
    assert path.read_bytes() == b"theirs", "fsync of the folder, after ours had the name"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_lies_beside_a_file_stays_where_the_file_does(tmp_path, monkeypatch, overwrite):
    """GDAL finds the georeference of a picture in it."""
    path, sidecar = tmp_path / "a.png", tmp_path / "a.png.aux.xml"

    def there():
        path.write_bytes(b"theirs")
        sidecar.write_bytes(b"theirs too")

    def fsync(_):
        if overwrite:
            raise OSError(errno.ENOSPC, "No space left on device")
        there()
    if overwrite:
        there()
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RasterError, match="make room" if overwrite else "appeared while"):
        write_bytes(path, b"ours", overwrite)
    assert sorted((each, each.read_bytes()) for each in tmp_path.iterdir()) == [(path, b"theirs"), (sidecar, b"theirs too")]
