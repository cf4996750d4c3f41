"""A Segmenter after it was closed, and in another process than the one that opened it."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from hfd_edge.errors import EngineError
from hfd_edge.segmenter import Segmenter
from tests.command import INPUT
from tests.engines import random_engine

SCENE = np.random.default_rng(0).gamma(4.4, 0.01, size=(2, 70, 90)).astype(np.float32)


@pytest.fixture(scope="module")
def db_engine(tmp_path_factory):
    return random_engine(tmp_path_factory.mktemp("engine") / "db.engine", input=INPUT)


def test_a_closed_segmenter_says_so(db_engine):
    seg = Segmenter(db_engine)
    with seg:
        with pytest.raises(EngineError, match="cannot be copied or sent"):
            pickle.dumps(seg)
    seg.close()
    with seg, pytest.raises(EngineError, match="closed.*Segmenter"):
        seg.run(SCENE, unit="intensity")


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
