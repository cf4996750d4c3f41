"""Benchmarks that nothing else runs still run, on a scene too small to time anything, and end with their ratios."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"bench_mosaic": ("--tiles", "2", "--side", "128", "--rounds", "1"), "bench_feed": ("--side", "512", "--rounds", "1"), "bench_filtered": ("--side", "512", "--rounds", "1"),
         "bench_products": ("--rows", "256", "--cols", "300", "--rounds", "1")}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_ends_with_its_ratios(name):
    if name == "bench_feed":
        pytest.importorskip("hfd_edge._cuda", reason="was built without CUDA")
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *SMALL[name], "--json"],
                          text=True, capture_output=True, timeout=300, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])["ratios"]
    assert found and all(ratio > 0 for ratio in found.values())
