"""The command line in a process of its own, and what to feed it."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from hfd_edge.spec import ModelInput

ROOT = Path(__file__).resolve().parent.parent
INPUT = ModelInput(unit="db", mean=(-11.0, -18.0), std=(6.0, 6.0), floor=-35.0)
BANDS = ("VV", "VH")


def run(*words, **changes):
    return subprocess.run([sys.executable, "-m", "hfd_edge.cli", *map(str, words)], capture_output=True, text=True, cwd=ROOT,
                          timeout=300, **changes)


def power(rows=90, cols=70):
    return (np.random.default_rng(3).gamma(4.4, 0.02, (2, rows, cols))).astype(np.float32)


def failed(done, *words, code=1):
    assert done.returncode == code and not done.stdout, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: "), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
