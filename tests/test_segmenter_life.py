"""A Segmenter after it was closed, and in another process than the one that opened it."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from hfd_edge.errors import EngineError, PackageError
from hfd_edge.package import Package
from hfd_edge.segmenter import Segmenter
from tests.command import INPUT
from tests.engines import random_engine
from tests.rasters import write_tif

SCENE = np.random.default_rng(0).gamma(4.4, 0.01, size=(2, 70, 90)).astype(np.float32)


@pytest.fixture(scope="module")
def db_engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "db.engine", input=INPUT)


def test_a_closed_segmenter_says_so(db_engine):
    seg = Segmenter(db_engine)
    with seg:
        with pytest.raises(EngineError, match="cannot be copied or sent"):
            pickle.dumps(seg)
        with Package.open(db_engine) as package, pytest.raises(PackageError, match="cannot be copied or sent.*Package.open"):
            copy.deepcopy(package)
    seg.close()
    with seg, pytest.raises(EngineError, match="is closed: open the package again .Segmenter"):
        seg.run(SCENE, unit="intensity")


def test_a_segmenter_and_a_result_say_what_they_are(db_engine):
    with Segmenter(db_engine, device="cpu") as seg:
        result, again = seg.run(SCENE, unit="intensity"), seg.run(SCENE, unit="intensity", confidence=False)
    assert repr(seg) == f"Segmenter({str(db_engine)!r}, cpu, {seg.engine}, bands B0, B1 in db)"
    assert repr(result) == "Result(70 x 90 labels of 5 classes, with confidence, 0.00% nodata, on cpu; 1 note, print(result.report))" and "without confidence" in repr(again)
    assert result == result and result != again and len({result, again}) == 2
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).labels, again.labels)


class SoftTimeLimit(Exception):
    """As of Celery: raised by a signal's handler, in the middle of whatever runs."""


def test_what_progress_raises_ends_the_run_and_leaves_nothing(db_engine, tmp_path):
    class Cancelled(Exception):
        pass

    def after_half(done, rows):
        if done * 2 > rows:
            raise Cancelled

    scene = write_tif(tmp_path / "scene.tif", np.tile(SCENE, (1, 8, 1)), tags={"HFD_UNIT": "intensity"})
    with Segmenter(db_engine, tile=104, threads=2) as seg:
        for _ in range(2):
            with pytest.raises(Cancelled):
                seg.run_raster(scene, tmp_path / "map.tif", confidence=tmp_path / "c.tif", progress=after_half)
            assert [each.name for each in tmp_path.iterdir()] == ["scene.tif"]
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("hfd-")]
        assert seg.run_raster(scene, tmp_path / "map.tif").rows == 8 * 70


def test_a_deadline_of_the_callers_in_the_middle_of_the_engine_is_no_error_of_the_engine(db_engine, monkeypatch):
    class Interrupted:
        def run(self, *_):
            raise SoftTimeLimit("60 s")

    with Segmenter(db_engine) as seg:
        session = seg._engine._session
        monkeypatch.setattr(seg._engine, "_session", Interrupted())
        with pytest.raises(SoftTimeLimit, match="60 s"):
            seg.run(SCENE, unit="intensity")
        seg._engine._session = session
        assert seg.run(SCENE, unit="intensity").labels.shape == (70, 90)


LITTLE_MEMORY = """
import resource, sys
import numpy as np
from hfd_edge import EngineError, Segmenter
with Segmenter(sys.argv[1], threads=1) as seg:
    scene = np.full((2, 1024, 1024), 0.05, np.float32)
    seg.run(scene[:, :64, :64], unit="intensity")
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (20 << 20), resource.RLIM_INFINITY))
    try:
        seg._engine.infer(scene[None])
    except EngineError as error:
        print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is limited on Linux")
def test_an_engine_without_memory_is_one_error_with_the_way_out_and_no_log_beside_it(db_engine):
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, str(db_engine)], capture_output=True, text=True, timeout=240)
    assert "may take no more memory (give a smaller tile, --tile or --memory, or raise its limit): " in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0 and done.stderr == ""


FORK = """
import multiprocessing, sys
import numpy as np
from hfd_edge import Segmenter
scene = np.random.default_rng(0).gamma(4.4, 0.01, size=(2, 70, 90)).astype(np.float32)
def work(threads):
    try:
        (seg if threads is None else Segmenter(sys.argv[1], threads=threads)).run(scene, unit="intensity")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
seg = Segmenter(sys.argv[1], threads=2)
seg.run(scene, unit="intensity")
fork = multiprocessing.get_context("fork")
for threads in (None, 2, 1):
    process = fork.Process(target=work, args=(threads,))
    process.start()
    process.join(60)
    print(process.exitcode)
    process.kill()
"""


def test_a_forked_worker_opens_a_segmenter_of_its_own_and_never_hangs(db_engine):
    done = subprocess.run([sys.executable, "-c", FORK, str(db_engine)], capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["1", "0", "0"], done.stdout + done.stderr
    assert done.stderr.count("DeviceError: threads=2 in process") == 1 and "in the worker" in done.stderr
