"""A fork waits until no thread is inside GDAL: every call into it is made under the thread's lock."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import rasterio
from rasterio.io import DatasetReader, DatasetWriter

import hfd_edge.forks
from hfd_edge.errors import DeviceError
from hfd_edge.forks import no_fork
from hfd_edge.raster import RasterProfile, RasterSource, RasterWriter
from hfd_edge.segmenter import Segmenter
from tests.engines import random_engine
from tests.rasters import write_tif

LIMIT_S = 60
QUIET = ("-W", "ignore::DeprecationWarning")      # of os.fork beside threads, from Python 3.12 on
UNGUARDED = {"close", "closed", "__exit__", "__enter__", "__class__", "name", "_env"}     # of the object in Python, or asked by the garbage collector


def exit_code(child):
    """Fork in this thread; what `child` returns is the other process's exit code."""
    if (pid := os.fork()) == 0:
        code = 99
        try:
            code = child()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Inside(threading.Thread):
    """A thread that holds its lock until `leave` is set, and says in `left` that it is about to let go."""

    def __init__(self):
        super().__init__(daemon=True)
        self.entered, self.leave, self.left = threading.Event(), threading.Event(), False

    def run(self):
        with no_fork():
            self.entered.set()
            assert self.leave.wait(LIMIT_S)
            self.left = True


def inside():
    thread = Inside()
    thread.start()
    assert thread.entered.wait(LIMIT_S)
    return thread


def test_a_fork_waits_for_every_thread_that_is_inside():
    threads = [inside() for _ in range(3)]
    for number, thread in enumerate(threads):
        threading.Timer(0.05 * (number + 1), thread.leave.set).start()
    assert exit_code(lambda: sum(thread.left for thread in threads)) == 3


def test_without_the_hook_a_fork_does_not_wait(monkeypatch):
    thread = inside()
    monkeypatch.setattr(hfd_edge.forks, "_all", ())
    assert exit_code(lambda: int(thread.left)) == 0
    thread.leave.set()


def test_a_thread_that_is_inside_may_fork_and_every_lock_is_free_in_both_processes():
    thread = inside()
    threading.Timer(0.05, thread.leave.set).start()

    def child():
        with no_fork():
            return exit_code(lambda: 7)

    with no_fork():
        assert exit_code(child) == 7
    assert not no_fork()._is_owned() and not hfd_edge.forks._taken
    assert exit_code(lambda: 5) == 5
    thread.join(LIMIT_S)


def test_a_thread_that_begins_while_a_fork_waits_does_not_slip_through():
    thread, seen = inside(), []
    forking = threading.Thread(target=lambda: seen.append(exit_code(lambda: len(late))), daemon=True)
    late = []

    def enter_late():
        with no_fork():
            late.append(1)

    forking.start()
    while not hfd_edge.forks._taken:
        pass
    other = threading.Thread(target=enter_late, daemon=True)
    other.start()
    other.join(0.1)
    assert not late
    thread.leave.set()
    forking.join(LIMIT_S)
    other.join(LIMIT_S)
    assert seen == [0] and late == [1]


def watched(kind, calls):
    """A rasterio dataset that notes the attributes used by a thread without its lock."""
    class Watched(kind):
        def __getattribute__(self, name):
            if not no_fork()._is_owned():
                calls.append(name)
            return super().__getattribute__(name)
    return Watched


@pytest.fixture
def scene(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 300, 700)).astype(np.float32)
    return write_tif(tmp_path / "scene.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate", nodata=-1.0)


@pytest.fixture
def calls(scene, monkeypatch):
    calls = []
    writer = watched(DatasetWriter, calls)
    monkeypatch.setattr(rasterio, "DatasetReader", watched(DatasetReader, calls))
    monkeypatch.setattr(rasterio, "get_writer_for_driver", lambda driver: writer)
    return calls


def run(scene, folder):
    with Segmenter(random_engine(folder / "random.engine"), threads=2) as seg:
        seg.run_raster(scene, folder / "map.tif", confidence=folder / "confidence.tif", unit="dn", overwrite=True)
    with RasterSource(folder / "map.tif") as source:
        assert source.geo.same_place(source.geo, source.rows, source.cols)
        return source.read(0, source.rows)[0]


def test_every_call_into_gdal_is_made_under_the_lock(scene, tmp_path, calls):
    run(scene, tmp_path)
    assert set(calls) <= UNGUARDED, sorted(set(calls) - UNGUARDED)


def test_a_read_without_the_lock_is_noticed(scene, tmp_path, calls, monkeypatch):
    monkeypatch.setattr("hfd_edge.raster.source.no_fork", threading.Lock)
    run(scene, tmp_path)
    assert "read" in calls


def test_several_threads_may_fork_at_once(tmp_path):
    code = """
import os, sys, threading
from hfd_edge.errors import DeviceError
from hfd_edge.forks import no_fork
sys.setswitchinterval(1e-5)
stop = threading.Event()
def fork():
    for _ in range(60):
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
def enter():
    while not stop.is_set():
        with no_fork():
            pass
busy = [threading.Thread(target=enter, daemon=True) for _ in range(2)]
forking = [threading.Thread(target=fork, daemon=True) for _ in range(3)]
for thread in (*busy, *forking):
    thread.start()
for thread in forking:
    thread.join(60)
print(sum(thread.is_alive() for thread in forking), "stuck", flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, *QUIET, "-c", code], capture_output=True, text=True, timeout=3 * LIMIT_S, check=False)
    assert done.stdout.strip() == "0 stuck" and not done.stderr, done.stderr[-2000:]


def test_an_interrupt_while_a_fork_waits_comes_after_it():
    code = """
import os, signal, threading, time
from hfd_edge.errors import DeviceError
from hfd_edge.forks import no_fork
inside, left = threading.Event(), []
def work():
    with no_fork():
        inside.set()
        time.sleep(0.6)
        left.append(1)
threading.Thread(target=work).start()
inside.wait()
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    if (pid := os.fork()) == 0:
        os._exit(len(left))
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]), flush=True)
"""
    done = subprocess.run([sys.executable, *QUIET, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stdout == "interrupted 1\n" and not done.stderr, (done.stdout, done.stderr)


def test_a_writer_that_was_only_made_before_the_fork_may_write_in_the_child_and_one_at_work_is_left_alone(tmp_path):
    values, profile = np.full((1, 300, 400), 7, np.uint8), RasterProfile(300, 400, 1, "uint8")
    made, at_work = RasterWriter(tmp_path / "child.tif", profile), RasterWriter(tmp_path / "parent.tif", profile)

    def child():
        with made:
            made.write(0, values)
        with pytest.raises(DeviceError, match="parent.tif is written by process"):
            at_work.write(256, values[:, 256:])
        at_work.__exit__(None, None, None)
        return len(list(tmp_path.glob(".*.partial")))

    with at_work:
        at_work.write(0, values[:, :256])
        assert exit_code(child) == 1                    # the parent's own, which goes on
        at_work.write(256, values[:, 256:])
    for name in ("child.tif", "parent.tif"):
        with RasterSource(tmp_path / name) as source:
            assert (source.read(0, 300)[0] == 7).all()
    assert not list(tmp_path.glob(".*.partial"))
