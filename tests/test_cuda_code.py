"""What nvcc makes of the kernels, read without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import sass_report  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sass_report.compiler() is None, reason="needs nvcc")]


@pytest.mark.parametrize("name", sass_report.SOURCES)
def test_kernels_round_as_the_cpu_does(name):
    assert sass_report.inexact(sass_report.ptx_of(name)) == []


def test_a_compiler_that_contracts_is_noticed(monkeypatch):
    monkeypatch.setattr(sass_report, "FLAGS", [flag for flag in sass_report.FLAGS if flag != "-fmad=false"])
    assert any("fma" in found for found in sass_report.inexact(sass_report.ptx_of("finish")))


@pytest.mark.parametrize("name", ["gather", "finish"])
def test_no_kernel_spills_and_pixels_are_loaded_wide(name):
    found = sass_report.kernels(name, "sm_87")
    assert found and all(kernel.spill_bytes == 0 and 0 < kernel.registers <= 128 for kernel in found)
    if name == "gather" and sass_report.disassembler() is not None:
        assert all(kernel.found["LDG.128"] > 0 and kernel.found["STG.128"] > 0 and kernel.found["LDL/STL"] == 0 for kernel in found)
