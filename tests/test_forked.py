"""Forked processes: each way into a run answers there, with a map or an error that names the way out. None waits for ever."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engines import random_engine
from tests.rasters import write_tif

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 60
START = """
import multiprocessing, os, sys, threading
import numpy as np
from hfd_edge.pipeline import WriteBehind, prefetch
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.raster import RasterSource
from hfd_edge.segmenter import Segmenter
engine, scene, out = sys.argv[1:]
def child(work):
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(LIMIT)
    print("hung" if process.is_alive() else process.exitcode, flush=True)
    process.kill()
    process.join()
def map_of(seg, name="map"):
    seg.run_raster(scene, f"{out}/{name}.tif", unit="dn", overwrite=True)
    with RasterSource(f"{out}/{name}.tif") as source:
        return source.read(0, source.rows)[0]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forked")
    values = np.random.default_rng(0).normal(size=(2, 300, 400)).astype(np.float32)
    scene = write_tif(folder / "scene.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    return random_engine(folder / "random.engine"), scene, folder


def outcome(files, code):
    words = [sys.executable, "-c", START.replace("LIMIT", str(LIMIT_S)) + code, *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=5 * LIMIT_S, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_a_segmenter_with_threads_made_before_the_fork_is_refused_in_every_way(files):
    printed, said = outcome(files, """
seg = Segmenter(engine, threads=2)
seg.run(np.ones((2, 70, 90), np.float32), unit="dn")
map_of(seg)
child(lambda: seg.run(np.ones((2, 70, 90), np.float32), unit="dn"))
child(lambda: map_of(seg, "child"))
def read_there():
    with RasterSource(scene) as source:
        seg.run_source(source, SourceRadiometry("dn"), lambda *rows: None)
child(read_there)
""")
    assert printed == ["1", "1", "1"] and said.count("DeviceError: threads=2 in process") == 3 and "threads=1" in said


def test_a_segmenter_with_one_thread_made_before_the_fork_runs_there(files):
    printed, said = outcome(files, """
seg = Segmenter(engine, threads=1)
expected = map_of(seg)
def same():
    assert (map_of(seg, "child") == expected).all()
child(same)
""")
    assert printed == ["0"], said


def test_a_segmenter_made_after_the_fork_gives_the_same_map_although_gdal_had_threads_before(files):
    printed, said = outcome(files, """
expected = map_of(Segmenter(engine, threads=2))
def same():
    assert (map_of(Segmenter(engine, threads=1), "child") == expected).all()
child(same)
""")
    assert printed == ["0"], said


def test_a_segmenter_with_threads_made_after_the_fork_ends_with_the_map_or_a_word(files):
    printed, said = outcome(files, """
expected = map_of(Segmenter(engine, threads=2))
def same():
    assert (map_of(Segmenter(engine, threads=2), "child") == expected).all()
child(same)
""")
    assert printed == ["0"] or (printed == ["1"] and "hfd_edge.errors.DeviceError: threads=2" in said), said


def test_workers_forked_while_another_thread_runs_end(files):
    printed, said = outcome(files, """
stop, begun = threading.Event(), threading.Event()
def keep_running():
    with Segmenter(engine, threads=2) as seg:
        while not stop.is_set():
            map_of(seg, "parent")
            begun.set()                 # after the first map no module is imported any more: Python itself forks no import in flight
thread = threading.Thread(target=keep_running, daemon=True)
thread.start()
assert begun.wait(60)
for number in range(6):
    child(lambda: map_of(Segmenter(engine, threads=1), f"child-{number}"))
stop.set()
thread.join()
""")
    assert printed == ["0"] * 6, said


def test_what_was_opened_or_started_before_the_fork_is_refused_after_it(files):
    printed, said = outcome(files, """
source = RasterSource(scene, threads=2)
source.read(0, 300)
child(lambda: source.read(0, 10))
ahead = prefetch(iter(range(10)))
next(ahead)
child(lambda: (next(ahead), next(ahead), next(ahead)))
list(ahead)
with WriteBehind(lambda number: None) as behind:
    behind.put(1)
    child(lambda: [behind.put(number) for number in range(5)])
    child(lambda: behind.__exit__(None))
    child(lambda: behind.__exit__(KeyError))
""")
    assert printed == ["1", "1", "1", "1", "0"], said
    assert said.count("hfd_edge.errors.DeviceError: ") == 4 and said.count("('spawn')\n") == 4


def test_what_was_opened_before_the_fork_may_be_closed_or_dropped_in_the_child(files):
    printed, said = outcome(files, """
seg, source = Segmenter(engine, threads=2), RasterSource(scene, threads=2)
map_of(seg)
readers = [threading.Thread(target=lambda: [source.read(0, 300) for _ in range(60)], daemon=True) for _ in range(2)]
for reader in readers:
    reader.start()
def leave():
    global seg
    source.close()
    seg.close()
    seg = None
for _ in range(4):
    child(leave)
child(lambda: exec("global seg\\ndel seg", globals()))
for reader in readers:
    reader.join()
assert (map_of(seg) == map_of(seg)).all()
""")
    assert printed == ["0"] * 5, said


def test_a_child_that_leaves_a_run_in_progress_leaves_the_parents_map_alone(files):
    printed, said = outcome(files, """
def fork_once(done, whole, forked=[]):
    if not forked and (pid := forked.append(1) or os.fork()) == 0:
        sys.exit(0)                                     # unwinds the whole run
    elif len(forked) == 1:
        forked.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        print(forked[1])
with Segmenter(engine, threads=1, tile=96) as seg:
    expected = map_of(seg)
    try:
        seg.run_raster(scene, f"{out}/forked.tif", unit="dn", overwrite=True, progress=fork_once)
    except SystemExit:
        os._exit(0)                                     # what onnxruntime does at the end of a forked process is its own affair
with RasterSource(f"{out}/forked.tif") as source:
    assert (source.read(0, source.rows)[0] == expected).all()
assert not [name for name in os.listdir(out) if name.endswith(".partial")]
""")
    assert printed == ["0"], said
