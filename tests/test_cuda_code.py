"""What nvcc makes of the kernels, read without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import certify_operations  # noqa: E402
import sass_path  # noqa: E402
import sass_path_filters  # noqa: E402
import sass_report  # noqa: E402

DISASSEMBLED = pytest.mark.skipif(sass_report.disassembler() is None, reason="needs cuobjdump")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sass_report.compiler() is None, reason="needs nvcc")]


@pytest.mark.parametrize("name", sass_report.SOURCES)
def test_kernels_round_as_the_cpu_does(name):
    assert sass_report.inexact(sass_report.ptx_of(name)) == []


def test_a_compiler_that_contracts_is_noticed(monkeypatch):
    monkeypatch.setattr(sass_report, "FLAGS", [flag for flag in sass_report.FLAGS if flag != "-fmad=false"])
    assert any("fma" in found for found in sass_report.inexact(sass_report.ptx_of("finish")))


@pytest.mark.parametrize("name", ["gather", "finish", "speckle"])
def test_no_kernel_spills_and_pixels_are_loaded_wide(name):
    found = sass_report.kernels(name, "sm_87")
    assert found and all(kernel.spill_bytes == 0 and 0 < kernel.registers <= 128 for kernel in found)
    if name == "gather" and sass_report.disassembler() is not None:
        assert all(kernel.found["LDG.128"] > 0 and kernel.found["STG.128"] > 0 and kernel.found["LDL/STL"] == 0 for kernel in found)


@DISASSEMBLED
@pytest.mark.parametrize(("name", "most"), [("uint16 amplitude to dB", 122), ("float32 intensity to dB", 117), ("float32 dB to dB", 75)])
@pytest.mark.parametrize("arch", ["sm_87", "sm_90"])
def test_gather_takes_few_instructions_a_pixel(arch, name, most):
    kernel, load, middle = sass_path.GATHERS[name]
    assert sass_path.per_pixel(sass_path.counted(sass_path.machine_code(arch)[kernel], load, middle), 2) <= most


@DISASSEMBLED
@pytest.mark.parametrize("arch", ["sm_87", "sm_90"])
def test_filters_take_few_instructions_a_pixel_and_wait_once_for_a_tile(arch):
    code = sass_path_filters.machine_code(arch, "speckle", "speckle sums 3")
    for name, most in (("lee", 79), ("lee with a mask", 85), ("boxcar", 40), ("boxcar with a mask", 46)):
        assert sass_path_filters.filter_path(code, *sass_path_filters.FILTERS[name])["a pixel"] <= most, name
    for masked, count in ((False, 24), (True, 48)):         # all of a tile's are under way before one is waited for
        first, *between, last = code.loads(masked)
        assert len(between) == count - 2 and not any(first < i < last for i in code.all("STS"))


@DISASSEMBLED
@pytest.mark.parametrize("arch", ["sm_87", "sm_90"])
def test_finish_takes_few_instructions_a_pixel(arch):
    assert sass_path_filters.finish_path(sass_path_filters.machine_code(arch, "finish", "finish 4 4"))["a pixel"] <= 280


@DISASSEMBLED
def test_certify_tells_the_instructions_that_were_counted():
    filters, counted = sass_path_filters.machine_code("sm_90", "speckle", "speckle sums 3"), {}
    for name, which in sass_path_filters.FILTERS.items():
        counted[name.replace("lee", "lee 7 x 7").replace("boxcar", "boxcar 7 x 7")] = sass_path_filters.filter_path(filters, *which)["a pixel"]
    for name, (kernel, load, middle) in sass_path.GATHERS.items():
        counted[name] = sass_path.per_pixel(sass_path.counted(sass_path.machine_code("sm_90")[kernel], load, middle), 2)
    counted["7 classes, stride 4"] = sass_path_filters.finish_path(sass_path_filters.machine_code("sm_90", "finish", "finish 4 4"))["a pixel"]
    assert certify_operations.INSTRUCTIONS == {name: pytest.approx(counted[name], rel=0.05) for name in certify_operations.INSTRUCTIONS}
