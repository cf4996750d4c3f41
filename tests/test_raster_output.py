"""Rasters out: the file is complete or not there, and nothing that is there is lost by mistake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.errors import RasterError
from hfd_edge.raster import MapWriter, RasterProfile, RasterSource, check_different, check_output, made_folder, write_raster
from hfd_edge.raster.cog import CogWriter
from hfd_edge.segmenter import Segmenter
from tests.engines import random_engine
from tests.rasters import ramp, write_tif
from tests.test_raster_map import Legend, labels_of, write_map

ROOT = Path(__file__).resolve().parent.parent


# Before any work

def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    there = write_tif(tmp_path / "there.tif", ramp(1))
    with pytest.raises(RasterError, match="--overwrite"):
        check_output(there, overwrite=False)
    with pytest.raises(RasterError, match="is an input"):
        check_output(tmp_path / "." / "there.tif", overwrite=True, inputs=[there])
    with pytest.raises(RasterError, match="mkdir"):
        check_output(tmp_path / "none" / "map.tif", overwrite=False)
    with pytest.raises(RasterError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(RasterError, match="free"):
        check_output(tmp_path / "map.tif", overwrite=False, bytes_needed=1 << 60)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RasterError, match="permissions"):
        check_output(tmp_path / "map.tif", overwrite=False)


def test_a_map_never_replaces_the_scene_it_was_made_from(tmp_path):
    scene = write_tif(tmp_path / "scene.tif", ramp(1))
    before = scene.read_bytes()
    (tmp_path / "link.tif").symlink_to(scene)
    for out in (scene, tmp_path / "link.tif"):
        with RasterSource(scene) as source, pytest.raises(RasterError, match="is an input"):
            MapWriter(out, source.rows, source.cols, source.geo, Legend(), {}, overwrite=True)
    assert scene.read_bytes() == before


def test_a_map_never_replaces_the_engine_that_makes_it(tmp_path, monkeypatch):
    scene, engine = write_tif(tmp_path / "scene.tif", ramp()), random_engine(tmp_path / "m.engine")
    before = engine.read_bytes()
    monkeypatch.chdir(tmp_path)
    with Segmenter("m.engine", device="cpu") as seg:
        monkeypatch.chdir("/")                                      # a relative path is the one of when it was opened
        for out, more in ((engine, {}), (tmp_path / "map.tif", {"confidence": engine})):
            with pytest.raises(RasterError, match="is an input"):
                seg.run_raster(scene, out, unit="dn", overwrite=True, **more)
    assert engine.read_bytes() == before and sorted(file.name for file in tmp_path.iterdir()) == ["m.engine", "scene.tif"]


# Interrupted

def test_overwriting_replaces_only_when_complete(tmp_path):
    path = tmp_path / "map.tif"
    write_map(path, labels_of(seed=1))
    before = path.read_bytes()
    for error in (KeyboardInterrupt, MemoryError, SystemExit):
        with pytest.raises(error), MapWriter(path, 700, 530, None, Legend(), {}, overwrite=True) as writer:
            writer.write(0, labels_of())
            raise error
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]
    write_map(path, labels_of(seed=2), overwrite=True)
    assert path.read_bytes() != before


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(RasterError, match="appeared"), MapWriter(tmp_path / "map.tif", 4, 4, None, Legend(), {}) as writer:
        writer.write(0, np.zeros((4, 4), np.uint8))
        (tmp_path / "map.tif").write_text("another's")
    assert (tmp_path / "map.tif").read_text() == "another's" and len(list(tmp_path.iterdir())) == 1


CHILD = """
import sys, time
import numpy as np
from hfd_edge.raster import RasterProfile, RasterWriter
with RasterWriter(sys.argv[1], RasterProfile(2048, 2048, 1, "uint8"), overwrite=True) as writer:
    for row in range(0, 1024, 64):
        writer.write(row, np.random.default_rng(0).integers(0, 255, (1, 64, 2048)).astype(np.uint8))
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_half_way_leaves_what_was_there_before(tmp_path, sent):
    path = tmp_path / "map.tif"
    path.write_bytes(b"before")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert child.stdout.readline() == "half\n"
    time.sleep(0.1)
    child.send_signal(sent)
    child.wait(timeout=20)
    assert path.read_bytes() == b"before"
    rest = [p.name for p in tmp_path.iterdir() if p != path]
    assert sorted(name[-5:] for name in rest) == ([".lock", "rtial"] if sent == signal.SIGKILL else []) and all(name.startswith(".map.tif.") for name in rest)
    write_raster(path, [(0, np.zeros((1, 8, 8), np.uint8))], RasterProfile(8, 8, 1, "uint8"), overwrite=True)
    assert [*tmp_path.iterdir()] == [path], "the next run takes the rest away"


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    code = """
import resource, sys
import numpy as np
from hfd_edge.errors import RasterError
from hfd_edge.raster import RasterProfile, RasterWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))               # stands for a disk that fills up
try:
    with RasterWriter(sys.argv[1], RasterProfile(2048, 2048, 1, "uint8")) as writer:
        writer.write(0, np.random.default_rng(0).integers(0, 255, (1, 2048, 2048)).astype(np.uint8))
except RasterError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "map.tif")], capture_output=True, text=True, cwd=ROOT)
    assert "make room" in done.stdout and len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


class Deadline(Exception):
    """As Celery's soft time limit: raised by a signal's handler, in the middle of whatever runs."""


@pytest.mark.parametrize("raised, seen", [(Deadline, Deadline), (TimeoutError, TimeoutError), (OSError, RasterError)])
def test_a_deadline_of_the_callers_while_a_map_is_joined_is_no_error_of_the_map(tmp_path, monkeypatch, raised, seen):
    def join(writer):
        raise raised("60 s")

    monkeypatch.setattr(CogWriter, "_join", join)
    with pytest.raises(seen, match="60 s") as caught, MapWriter(tmp_path / "map.tif", 4, 4, None, Legend(), {}) as writer:
        writer.write(0, np.zeros((4, 4), np.uint8))
    assert type(caught.value) is seen and not list(tmp_path.iterdir())


def test_only_a_plain_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    for name, overwrite, words in (("pipe", True, "a device or a pipe"), ("link", False, "exists"), ("x" * 240, True, "at most 237 bytes"),
                                   (os.fsdecode(b"b\xff.tif"), True, "no UTF-8 name"), ("a\0b", True, "zero byte")):
        with pytest.raises(RasterError, match=words):
            check_output(tmp_path / name, overwrite, inputs=[tmp_path / "in.tif"])
    assert check_output(tmp_path / ("x" * 237), False).name == "x" * 237 and sorted(tmp_path.iterdir()) == before


def test_two_outputs_of_one_name_are_refused_however_they_are_spelled(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    check_different([tmp_path / "a.tif", tmp_path / "b.tif"])
    for other in (tmp_path / "a.tif", tmp_path / "link" / "a.tif", f"{tmp_path}/link/../{tmp_path.name}/a.tif"):
        with pytest.raises(RasterError, match="must be different files"):
            check_different([tmp_path / "a.tif", other])


def test_a_folder_made_for_a_failed_run_goes_again(tmp_path):
    with pytest.raises(KeyError):
        with made_folder(tmp_path / "a" / "b"):
            raise KeyError
    assert not any(tmp_path.iterdir())
    with made_folder(tmp_path / "a"):
        (tmp_path / "a" / "file").touch()
    with pytest.raises(KeyError):
        with made_folder(tmp_path / "a" / "c"):
            raise KeyError
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    with pytest.raises(RasterError, match="cannot be made a folder"):
        with made_folder(tmp_path / "a" / "file"):
            pass
