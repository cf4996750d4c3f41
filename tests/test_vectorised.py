"""The loops that are left to the vectoriser become vectors: docs/vectorisation.md. One that does not is several times as slow and gives the
same bytes, so no other test would notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CSRC = Path(__file__).parents[1] / "csrc"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
LOOPS = {"gather_loops.h": ("store_status", "along", "finish_gathered"), "gather_bytes_loops.h": ("cells_of_one", "cells_of_two"),
         "finish_loops.h": ("stretch_class", "is_tame", "weave")}


@pytest.fixture(scope="module")
def vectors() -> dict[str, list[int]]:
    """Lines of each file that GCC made vectors of, at x86-64's base, for this machine's own base elsewhere."""
    compiler = os.environ.get("CXX", "c++")
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout if shutil.which(compiler) else ""
    if "Free Software Foundation" not in said:
        pytest.skip(f"{compiler} is not GCC, whose report this reads")
    done = subprocess.run([compiler, *FLAGS, f"-I{CSRC}", "-fopt-info-vec", "-c", str(CSRC / "ops/row_loops_base.cpp"), "-o", os.devnull],
                          capture_output=True, text=True, check=True)
    found: dict[str, list[int]] = {}
    for name, line in re.findall(r"/(\w+\.h):(\d+):\d+: optimized: loop vectorized", done.stderr):
        found.setdefault(name, []).append(int(line))
    return found


@pytest.mark.parametrize("name, function", [(name, function) for name, functions in LOOPS.items() for function in functions])
def test_a_loop_left_to_the_compiler_is_made_vectors(vectors, name, function):
    first, last = lines_of((CSRC / "ops" / name).read_text(), function)
    assert any(first <= line <= last for line in vectors.get(name, [])), f"{function} of {name} runs one pixel at a time"


def test_lines_of_a_function_end_with_it():
    text = "int one() {\n  for (;;) {\n  }\n}\n\nvoid two() {\n}\n"
    assert lines_of(text, "one") == (1, 4) and lines_of(text, "two") == (6, 7)


def lines_of(text: str, function: str) -> tuple[int, int]:
    """First and last line of a function that begins in the first column."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines, 1) if re.match(rf"[a-z].*\b{function}\(.*\{{$", line))
    return first, next(i for i, line in enumerate(lines, 1) if i > first and line == "}")
