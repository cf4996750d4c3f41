"""Every variant of the row loops writes the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import recorded

from hfd_edge import build_info

ROOT = Path(__file__).resolve().parent.parent
COMPILED, USABLE = build_info()["simd_compiled"], build_info()["simd_usable"]
FLAGS = {"base": [], "avx2": ["-mavx2"], "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]}


def in_variant(name: str, code: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HFD_SIMD": name, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    return subprocess.run([sys.executable, "-c", code, *arguments], text=True, check=False, capture_output=True, env=environment)


@pytest.mark.parametrize("calls", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_every_variant_that_runs_here_writes_the_same_bytes(tmp_path, calls):
    recorded.make(tmp_path / "calls", calls, seed=calls)
    digests = {}
    for name in USABLE:
        done = in_variant(name, "import sys, hashlib, pathlib, recorded; from hfd_edge import build_info;"
                          "print(build_info()['simd'], hashlib.sha256(recorded.run(pathlib.Path(sys.argv[1]))).hexdigest())",
                          str(tmp_path / "calls"))
        assert done.returncode == 0, done.stderr
        ran, digests[name] = done.stdout.split()
        assert ran == name
    here = hashlib.sha256(recorded.run(tmp_path / "calls")).hexdigest()
    assert set(digests.values()) == {here}, digests


def test_the_widest_usable_variant_runs_unless_another_is_named():
    asked = in_variant("", "from hfd_edge import build_info; print(build_info()['simd'])")
    assert asked.stdout.split() == [USABLE[-1]] and set(USABLE) <= set(COMPILED)


@pytest.mark.parametrize("name", ["mmx", *sorted(set(COMPILED) - set(USABLE))])
def test_a_variant_that_cannot_run_is_refused(name):
    refused = in_variant(name, "from hfd_edge import build_info")
    assert refused.returncode != 0
    assert f"ArrayError: HFD_SIMD={name}: it must name a variant" in refused.stderr.replace("hfd_edge.errors.", "")


@pytest.mark.slow
@pytest.mark.skipif("avx2" not in COMPILED or not shutil.which("g++") or not shutil.which("nm"), reason="needs g++, nm, x86-64")
@pytest.mark.parametrize("variant", FLAGS)
@pytest.mark.parametrize("level", ["-O0", "-O1"])
def test_a_file_for_newer_processors_shares_no_function_with_the_others(tmp_path, variant, level):
    made = tmp_path / "made.o"
    subprocess.run(["g++", "-std=c++17", level, "-fPIC", "-ffp-contract=off", "-Wno-psabi", *FLAGS[variant], f"-I{ROOT / 'csrc'}",
                    "-c", str(ROOT / "csrc" / "ops" / f"row_loops_{variant}.cpp"), "-o", str(made)], check=True)
    symbols = subprocess.run(["nm", str(made)], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    kinds = {line.split()[-2] for line in symbols}
    assert not kinds & set("WVu"), [line for line in symbols if line.split()[-2] in "WVu"]
    assert sum(line.split()[-2] == "D" for line in symbols) == 1       # the table of this variant alone is seen outside
