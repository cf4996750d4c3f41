"""A file that is written and has its name is no failure, whatever its folder offers."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from hfd_edge import Segmenter
from hfd_edge.durable import beside, hold, let_go, lock_of
from hfd_edge.errors import PackageError, RasterError
from hfd_edge.raster import MapWriter, write_bytes
from tests.engines import levels_engine, random_engine
from tests.rasters import write_tif
from tests.test_raster_map import Legend

ROOT = Path(__file__).resolve().parent.parent
WRITER = """
import sys, time
import numpy as np
from hfd_edge.raster import MapWriter
from tests.test_raster_map import Legend
with MapWriter(sys.argv[1], 2, 2, None, Legend(), {}, overwrite=True) as writer:
    print("begun", flush=True)
    sys.stdin.readline()
    writer.write(0, np.zeros((2, 2), np.uint8))
"""


def map_writer(path):
    return MapWriter(path, 2, 2, None, Legend(), {}, overwrite=True)


def written(path, value):
    with map_writer(path) as writer:
        writer.write(0, np.full((2, 2), value, np.uint8))


def begun(path):
    """A process that writes a map and waits in the middle of it."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout.readline() == "begun\n"
    return child


def write_labels(path):
    write_bytes(path, b"labels", overwrite=False)


@pytest.mark.parametrize("write, name, error", [(write_labels, "labels.npy", RasterError), (random_engine, "m.engine", PackageError)])
@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_synced_fails_no_file_and_a_broken_disk_does(tmp_path, monkeypatch, refusal, write, name, error):
    sync, opened = os.fsync, os.open

    def fsync(number):                                          # SMB, FUSE and 9p answer EINVAL, a disk that fails EIO
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(refusal, "said the file system")
        sync(number)

    def open_file(path, *flags, **more):                        # a folder of mode 733 that is another user's
        if refusal == errno.EACCES and os.path.isdir(path):
            raise OSError(refusal, "said the folder")
        return opened(path, *flags, **more)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "open", open_file)
    if refusal == errno.EIO:
        with pytest.raises(error, match="cannot be (finished|written)"):
            write(tmp_path / name)
    else:
        write(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("write, name, error", [(write_labels, "labels.npy", RasterError), (random_engine, "m.engine", PackageError)])
@pytest.mark.parametrize("said", [TimeoutError("60 s"), TimeoutError(errno.ETIMEDOUT, "Connection timed out")])
def test_a_deadline_of_the_callers_while_the_disk_is_waited_for_is_no_error_of_the_disk(tmp_path, monkeypatch, said, write, name, error):
    def fsync(number):                                          # a signal's handler, or a network's disk that does not answer
        raise said

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error if said.errno else TimeoutError, match="cannot be" if said.errno else "60 s"):
        write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_has_its_name_after_its_bytes_are_on_the_disk_and_not_before(tmp_path, monkeypatch):
    path, sync, synced = tmp_path / "a.plan", os.fsync, []
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append((os.fstat(number).st_size, path.read_bytes())), sync(number)))
    with beside(path) as file:
        file.write(b"content")
    assert synced[0] == (7, b"old") and [content for _, content in synced[1:]] == [b"content"], "its bytes, then its name"
    assert path.read_bytes() == b"content" and [*tmp_path.iterdir()] == [path]
    with pytest.raises(ZeroDivisionError), beside(path) as file:
        file.write(b"half" * (1 // 0))
    assert path.read_bytes() == b"content" and [*tmp_path.iterdir()] == [path]


def test_a_name_that_another_run_writes_is_refused_until_it_is_done_whoever_asks_to_overwrite(tmp_path):
    path = tmp_path / "map.tif"
    child = begun(path)
    with pytest.raises(RasterError, match=rf"map.tif is being written by another run \(process {child.pid} on .*wait for it to end, or choose"):
        written(path, 1)
    written(tmp_path / "other.tif", 1)                                  # of the same folder
    child.communicate("go on\n", timeout=60)
    assert child.returncode == 0
    written(path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml", "other.tif", "other.tif.aux.xml"]


def test_a_name_whose_writer_was_killed_is_free_and_what_it_left_is_taken_away(tmp_path):
    path = tmp_path / "map.tif"
    child = begun(path)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert lock_of(path).exists()
    written(path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


def test_map_and_confidence_of_two_runs_are_never_mixed(tmp_path):
    """The first run has its map in place and not yet its confidence: the second must not begin."""
    engine, scene = levels_engine(tmp_path / "m.engine"), write_tif(tmp_path / "scene.tif", np.ones((1, 40, 30), np.float32))
    outputs = {"out": tmp_path / "map.tif", "unit": "dn", "confidence": tmp_path / "conf.tif", "overwrite": True}
    with Segmenter(engine) as segmenter, ExitStack() as stack:
        stack.enter_context(map_writer(tmp_path / "conf.tif")).write(0, np.zeros((2, 2), np.uint8))
        with pytest.raises(RasterError, match="conf.tif is being written by another run"):
            segmenter.run_raster(scene, **outputs)
        assert not (tmp_path / "map.tif").exists()
        stack.close()
        segmenter.run_raster(scene, **outputs)
    assert not list(tmp_path.glob(".*"))


def of_another_user(monkeypatch, gone):
    """Every lock's file can be read and not written; it can be taken away or not."""
    opened, unlink = os.open, Path.unlink

    def to_read(path, flags, *mode, **more):
        if Path(path).suffix == ".lock" and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *mode, **more)

    def take_away(path, missing_ok=False):
        if path.suffix == ".lock" and not gone:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok)
    monkeypatch.setattr(os, "open", to_read)
    monkeypatch.setattr(Path, "unlink", take_away)


@pytest.mark.parametrize("gone", [True, False])
def test_a_name_that_another_user_writes_is_refused_and_one_whose_lock_that_user_left_is_free(tmp_path, monkeypatch, gone):
    path = tmp_path / "map.tif"
    child = begun(path)
    of_another_user(monkeypatch, gone)
    with pytest.raises(RasterError, match=rf"map.tif is being written by another run \(process {child.pid} on "):
        written(path, 1)
    child.kill()
    child.communicate(timeout=60)
    written(path, 1)
    assert path.exists() and lock_of(path).exists() is not gone
    written(path, 2)                                                    # what stays is free


def test_where_another_users_file_cannot_be_locked_it_stays_for_those_who_can(tmp_path, monkeypatch):
    path, lock = tmp_path / "map.tif", fcntl.flock
    held = hold(path)
    of_another_user(monkeypatch, gone=True)
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, how: (_ for _ in ()).throw(OSError(errno.EBADF, "as NFS says of a file open for reading")))
    written(path, 1)
    assert lock_of(path).exists()
    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(BlockingIOError):
        hold(path)
    let_go(path, held)


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    path, kept = tmp_path / "map.tif", tmp_path / "precious.txt"
    kept.write_text("as it was")
    lock_of(path).symlink_to(kept)
    with pytest.raises(RasterError, match=r"map.tif cannot be written: .*\.map\.tif\.lock"):
        written(path, 1)
    assert kept.read_text() == "as it was" and not path.exists()


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EBADF, errno.ENOSYS])
def test_where_the_file_system_has_no_locks_maps_are_written_without(tmp_path, monkeypatch, refusal):
    def flock(descriptor, how):
        raise OSError(refusal, "said NFS")
    monkeypatch.setattr(fcntl, "flock", flock)
    written(tmp_path / "map.tif", 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


def test_a_lock_that_its_holder_takes_away_meanwhile_is_asked_for_once_more(tmp_path, monkeypatch):
    path, lock, taken = tmp_path / "map.tif", fcntl.flock, []

    def flock(descriptor, how):
        if not taken:
            taken.append(lock_of(path).unlink())                        # between opening and locking
        lock(descriptor, how)
    monkeypatch.setattr(fcntl, "flock", flock)
    held = hold(path)
    assert taken and lock_of(path).read_text().startswith(f"process {os.getpid()}")
    with pytest.raises(BlockingIOError):
        hold(path)
    let_go(path, held)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_lock_file_is_one_error_and_leaves_nothing(tmp_path, monkeypatch):
    def truncate(descriptor, size):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(os, "truncate", truncate)
    with pytest.raises(RasterError, match="map.tif cannot be written: Input/output error"):
        written(tmp_path / "map.tif", 1)
    assert not list(tmp_path.iterdir())
