"""The operations of a GPU give the bits of the CPU's, on the emulated device and on a real one."""

from __future__ import annotations

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


@EMULATED
@pytest.mark.slow
def test_kernels_touch_nothing_but_their_memory_and_do_nothing_undefined():
    module = emulated_cuda.build("sanitized")
    done = subprocess.run([sys.executable, "-c", UNDER_SANITIZERS, str(module), *OPERATIONS], text=True, capture_output=True,
                          env=emulated_cuda.sanitized_environment(), check=False)
    assert done.returncode == 0 and done.stdout.strip() == "clean", done.stderr[-4000:]


@EMULATED
@pytest.mark.slow
@pytest.mark.skipif(" fma " not in Path("/proc/cpuinfo").read_text(), reason="the processor has no fused multiply-add")
def test_the_twins_notice_a_compiler_that_contracts():
    with emulated_cuda.Emulated(emulated_cuda.build("contracted")).installed():
        twins = Twins(CudaDevice(0), seed=5)
        for operation in ("gather", "finish", "speckle"):
            assert any([getattr(twins, operation)() for _ in range(100)]), f"{operation} is the same with -ffp-contract=fast"
