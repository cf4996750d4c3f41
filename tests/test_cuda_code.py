"""What nvcc makes of the kernels, read without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import sass_path  # noqa: E402
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


@pytest.mark.skipif(sass_report.disassembler() is None, reason="needs cuobjdump")
@pytest.mark.parametrize(("name", "most"), [("uint16 amplitude to dB", 122), ("float32 intensity to dB", 117), ("float32 dB to dB", 75)])
@pytest.mark.parametrize("arch", ["sm_87", "sm_90"])
def test_gather_takes_few_instructions_a_pixel(arch, name, most):
    kernel, load, middle = sass_path.GATHERS[name]
    assert sass_path.per_pixel(sass_path.counted(sass_path.machine_code(arch)[kernel], load, middle), 2) <= most
