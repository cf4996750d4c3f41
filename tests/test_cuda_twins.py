"""The operations of a GPU give the bits of the CPU's, on the emulated device and on a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfd_edge.device.memory import CudaDevice
from tests import emulated_cuda
from tests.cuda_twins import OPERATIONS, Twins

EMULATED = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


@EMULATED
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("calls", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_an_emulated_kernel_gives_the_bits_of_the_cpu(emulated_device, operation, calls):
    with emulated_device.installed():
        twins = Twins(CudaDevice(0), seed=calls)
        differences = [d for d in (getattr(twins, operation)() for _ in range(calls)) if d]
    assert not differences, f"{len(differences)} of {calls}: {differences[0]}"


@pytest.mark.needs_cuda
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kernel_gives_the_bits_of_the_cpu(operation):
    twins = Twins(CudaDevice(0), seed=1)
    differences = [d for d in (getattr(twins, operation)() for _ in range(300)) if d]
    assert not differences, differences[0]


UNDER_SANITIZERS = """
import sys
from tests import emulated_cuda
device = emulated_cuda.Emulated(emulated_cuda.Path(sys.argv[1]))
device.policy("random", 3)
with device.installed():
    from hfd_edge.device.memory import CudaDevice
    from tests.cuda_twins import OPERATIONS, Twins
    twins = Twins(CudaDevice(0), seed=2)
    for operation in sys.argv[2:]:
        for _ in range(40):
            difference = getattr(twins, operation)()
            assert difference is None, difference
print("clean")
"""
STILL = ["setarch", "-R"] if shutil.which("setarch") else []          # the thread sanitizer wants addresses where it expects them


@EMULATED
@pytest.mark.slow
def test_kernels_touch_nothing_but_their_memory_and_do_nothing_undefined():
    module = emulated_cuda.build("sanitized")
    done = subprocess.run([sys.executable, "-c", UNDER_SANITIZERS, str(module), *OPERATIONS], text=True, capture_output=True,
                          env=emulated_cuda.sanitized_environment(), check=False)
    assert done.returncode == 0 and done.stdout.strip() == "clean", done.stderr[-4000:]


@EMULATED
@pytest.mark.slow
@pytest.mark.skipif("HFD_RACES" not in os.environ, reason="make sanitize runs it: two minutes of compiling")
def test_no_two_threads_of_a_kernel_touch_the_same_memory_without_a_barrier_between():
    """Threads of a block, and blocks of a launch, at the same time under the thread sanitizer; where barriers or places are wrong it must say so."""
    command = [*STILL, sys.executable, "-c", UNDER_SANITIZERS, str(emulated_cuda.build("at-once"))]
    environment = emulated_cuda.sanitized_environment("tsan")
    done = subprocess.run([*command, *OPERATIONS], text=True, capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "clean", done.stderr[-4000:]
    alone = {"barriers": {"blend", "validity"}, "blocks": {"counts", "saturation"}}       # one phase; counts that atomics add
    for broken, operation in ((broken, operation) for broken, none in alone.items() for operation in OPERATIONS if operation not in none):
        seen = subprocess.run([*command, operation], text=True, capture_output=True, env={**environment, "HFD_BROKEN": broken}, check=False)
        assert "data race" in seen.stderr, f"{operation}, broken {broken}: {seen.stdout} {seen.stderr[-2000:]}"


@EMULATED
@pytest.mark.slow
@pytest.mark.skipif(" fma " not in Path("/proc/cpuinfo").read_text(), reason="the processor has no fused multiply-add")
def test_the_twins_notice_a_compiler_that_contracts():
    with emulated_cuda.Emulated(emulated_cuda.build("contracted")).installed():
        twins = Twins(CudaDevice(0), seed=5)
        for operation in ("gather", "finish", "speckle"):
            assert any([getattr(twins, operation)() for _ in range(100)]), f"{operation} is the same with -ffp-contract=fast"
