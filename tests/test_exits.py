"""The interpreter ends while daemon threads segment: the process ends as it was told to, without a word, and nothing is left."""

import inspect
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.segmenter import Segmenter
from tests.engines import random_engine
from tests.rasters import write_tif

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (2, 1200, 1300)
START = """
import atexit, os, sys, threading, time
import numpy as np
from hfd_edge import Segmenter, exits
engine, scene, out = sys.argv[1:4]
pixels = np.ones((2, 1200, 1300), np.float32)
seg = Segmenter(engine, threads=2, tile=160)
begun = threading.Event()
def again(call):
    def for_ever():
        while True:
            begun.set()
            call()
    for _ in range(2):
        threading.Thread(target=for_ever, daemon=True).start()
    begun.wait()
def in_memory():
    seg.run(pixels, unit="dn")
def to_disk(names=iter(range(10 ** 6))):
    seg.run_raster(scene, f"{out}/{next(names)}.tif", unit="dn")
def opened():
    Segmenter(engine, threads=2).close()
"""
STUCK = """
class Stuck:
    rows, cols, count, dtype = 90, 90, 2, np.dtype(np.float32)
    def read(self, row, rows):
        begun.set()
        time.sleep(1000)
def stuck():
    from hfd_edge import SourceRadiometry
    seg.run_source(Stuck(), SourceRadiometry("dn"), lambda *rows: None)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exits")
    return random_engine(folder / "random.engine"), write_tif(folder / "scene.tif", np.ones(SHAPE, np.float32))


def ended(files, out, code):
    return subprocess.run([sys.executable, "-c", START + code, *map(str, files), str(out)], capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.45])
@pytest.mark.parametrize("call", ["in_memory", "to_disk", "opened"])
def test_the_process_ends_as_it_was_told_to_and_nothing_is_left(files, tmp_path, call, seconds):
    done = ended(files, tmp_path, f"again({call})\ntime.sleep({seconds})\nsys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python no longer ends threads there")
def test_without_the_wait_the_process_is_aborted(files, tmp_path):
    code = "exits.LIMIT_S = 0\nagain(in_memory)\ntime.sleep(0.2)"
    assert any(ended(files, tmp_path, code).returncode == -signal.SIGABRT for _ in range(8))


def test_a_thread_that_never_comes_to_a_tile_keeps_the_process_no_longer_than_the_limit(files, tmp_path):
    done = ended(files, tmp_path, STUCK + """
exits.LIMIT_S = 0.5
again(stuck)
print("ended")""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_who_interrupts_the_wait_does_not_stop_the_tidying_up(files, tmp_path):
    done = ended(files, tmp_path, STUCK + """
exits.after_runs(lambda: print("tidied up"))
def interrupt():
    while not exits._over:
        time.sleep(0.01)
    os.kill(os.getpid(), 2)
threading.Thread(target=interrupt, daemon=True).start()
again(stuck)""")
    assert done.stdout == "tidied up\n" and "KeyboardInterrupt" in done.stderr, done


def test_the_main_thread_and_threads_that_are_no_daemons_run_to_the_end(files, tmp_path):
    done = ended(files, tmp_path, """
atexit.register(lambda: print(seg.run(pixels, unit="dn").labels.shape))
threading.Thread(target=lambda: print(seg.run(pixels, unit="dn").labels.shape)).start()""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1200, 1300)\n" * 2, "")


def test_a_process_forked_beside_runs_waits_for_none_of_them(files, tmp_path):
    done = ended(files, tmp_path, """
again(in_memory)
if (child := os.fork()) == 0:
    start = time.monotonic()
    exits._end()
    os._exit(time.monotonic() - start > 2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_what_ends_first_still_says_how_it_is_called():
    assert "array" in inspect.signature(Segmenter.run).parameters and Segmenter.run.__doc__.startswith("Segment a scene in memory")
