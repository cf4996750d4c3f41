"""Which devices get a context, and which one the calling thread has afterwards: of several GPUs only the one that was asked for is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hfd_edge.device.array import DeviceArray, foreign_array
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import DeviceError
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter
from tests.emulated_cuda import OWN
from tests.test_device_array import ArrayInterface, SecondVersion
from tests.test_tensorrt_engine import SIDE, batch_of, engine_file, machine, opened, own_cache, package  # noqa: F401 - fixtures

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
NONE = -1
# What the calling thread may come with: nothing, a device that torch or CuPy works on, a context that PyCUDA's autoinit made.
COME_WITH = [NONE, 0, 1, OWN, OWN + 1]


@pytest.fixture
def two(emulated_device):
    """Two devices, none with a context, and a thread that has none."""
    emulated_device.devices(2)
    emulated_device.bind(NONE)
    with emulated_device.installed():
        yield emulated_device
    emulated_device.bind(NONE)


def come_with(device, context: int) -> None:
    device.bind(context)
    device.contexts()


def touched(device, context: int) -> set[int]:
    """Devices that something happened on, but for the one that the thread came with."""
    return device.contexts() - {context}


def everything(gpu: CudaDevice) -> list:
    """One call of each kind, each by itself; what was made."""
    memory, pinned, stream, events = gpu.allocate(64), gpu.pinned((16,), np.float32), gpu.stream(), [gpu.event(timing=True) for _ in range(2)]

    def captured() -> object:
        with gpu.captured(stream.handle) as graph:
            gpu.fill(memory.ptr, 7, 64, stream.handle)
        return graph

    steps = [lambda: gpu.fill(memory.ptr, 1, 64, stream.handle), lambda: gpu.copy_in(memory.ptr, pinned, stream.handle),
             lambda: gpu.copy_out(pinned, memory.ptr, stream.handle), lambda: events[0].record(stream.handle),
             lambda: gpu.native.copy_on_device(memory.ptr + 32, memory.ptr, 32, (gpu.index, stream.handle)),
             lambda: gpu.native.copy_rows(memory.ptr, 8, memory.ptr + 32, 8, (4, 4), (gpu.index, stream.handle)),
             lambda: gpu.native.valid_of_status((memory.ptr, 64), 64, (gpu.index, stream.handle)),
             lambda: gpu.wait(stream.handle, events[0]), lambda: events[1].record(stream.handle), events[1].synchronize,
             events[1].done, lambda: events[1].milliseconds_since(events[0]), lambda: gpu.synchronize(stream.handle), gpu.memory_info]
    return [memory, pinned, stream, *events, *(step() for step in steps), captured()]


@pytest.mark.parametrize("context", COME_WITH)
def test_every_call_works_on_its_own_device_alone_and_leaves_the_thread_as_it_was(two, context):
    come_with(two, context)
    gpu = CudaDevice(1)
    assert two.contexts() == set()                      # to look at what is there makes none
    made = everything(gpu)
    assert two.current() == context
    made[-1].launch(made[2].handle)
    made[0].free()
    del made
    assert two.current() == context and touched(two, context) == {1} - {context}


def test_what_another_thread_frees_makes_no_context_elsewhere(two):
    made = everything(CudaDevice(1))
    thread = threading.Thread(target=made.clear)
    thread.start()
    thread.join()
    assert two.contexts() == {1}


@pytest.mark.parametrize("context", COME_WITH)
def test_whole_runs_touch_no_other_device(db_engine, power, two, context, tmp_path):
    with Segmenter(db_engine, tile=48, halo=16) as cpu:
        wanted = cpu.run(power, unit="intensity").labels
    come_with(two, context)
    with emulated_segmenter(db_engine, two, device="cuda:1", tile=48, halo=16) as seg:
        np.testing.assert_array_equal(seg.run(power, unit="intensity").labels, wanted)
        result = seg.run(ArrayInterface(seg._gpu.gpu, power), unit="intensity")
        np.testing.assert_array_equal(result.labels.numpy(), wanted)
        assert result.labels.device == "cuda:1"
    del seg, result
    assert two.current() == context and touched(two, context) == {1} - {context}


@pytest.mark.parametrize("context", COME_WITH)
def test_tensorrt_is_opened_run_and_closed_on_its_own_device(machine, package, two, context):
    module, _ = machine()
    come_with(two, context)
    engine = opened(package, device=1)
    engine.infer(batch_of(package, 4))
    slot = engine.slot(4, SIDE, SIDE)
    slot.close()
    engine.slot(1, SIDE, SIDE)
    engine.close()
    assert set(module.built_on) == set(module.freed_on) == {1}
    assert two.current() == context and touched(two, context) == {1} - {context}


def test_a_device_that_another_process_has_for_itself_is_told(two):
    two.devices(8)
    two.fail("cuDevicePrimaryCtxRetain", 46)
    with pytest.raises(DeviceError, match=r"making a context on cuda:7 failed with cudaErrorDevicesUnavailable.*for itself alone"):
        CudaDevice(7).allocate(16)
    assert two.current() == NONE


def test_a_forked_process_is_told_what_to_do_and_frees_nothing(two):
    gpu = CudaDevice(1)
    held = gpu.allocate(16)
    used = two.counts()["used"]
    two.fail("cudaGetDeviceCount", 3)
    with pytest.raises(DeviceError, match="cudaErrorInitializationError.*get_context\\('spawn'\\)"):
        CudaDevice(1)
    two.fail("cuCtxGetCurrent", 3)
    with pytest.raises(DeviceError, match="current context failed with cudaErrorInitializationError.*get_context\\('spawn'\\)"):
        gpu.allocate(16)
    two.fail("cuCtxGetCurrent", 3)
    held.free()
    assert two.counts()["used"] == used


WITHOUT_A_DRIVER = """
from tests import emulated_cuda
device = emulated_cuda.Emulated(emulated_cuda.build())
device.driver(0)
with device.installed():
    import hfd_edge._cuda as native
    try:
        native.DeviceBuffer(0, 4)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_without_a_driver_the_module_imports_and_says_what_is_missing():
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_DRIVER], text=True, capture_output=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.startswith("DeviceError looking for cuInit in libcuda.so.1 failed with cudaErrorInsufficientDriver")


A_DRIVER = """
#include <cstdio>
static thread_local void* now;
static char made[8];
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = made + device, std::printf("made %d\\n", device), device == 3 ? 46 : 0; }
int cuCtxGetCurrent(void** context) { return *context = now, 0; }
int cuCtxSetCurrent(void* context) { return now = context, std::printf("set %d\\n", now ? int((char*)now - made) : -1), 0; }
}
"""
ON_THAT_DRIVER = """
import hfd_edge._cuda as native
first = native.enter_device(1)
native.leave_device(native.enter_device(1))
native.leave_device(native.enter_device(2))
native.leave_device(first)
try:
    native.enter_device(3)
except Exception as error:
    print(error, flush=True)
"""


def test_the_module_that_nvcc_made_asks_the_drivers_library(tmp_path):
    from hfd_edge import build_info
    if not build_info()["cuda_module"]["imported"]:
        pytest.skip(f"hfd_edge._cuda: {build_info()['cuda_module']['error']}")
    (tmp_path / "driver.cpp").write_text(A_DRIVER)
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "driver.cpp", "-o", tmp_path / "libcuda.so.1"], check=True)
    done = subprocess.run([sys.executable, "-c", ON_THAT_DRIVER], text=True, capture_output=True, check=True, cwd=Path(__file__).parents[1],
                          env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("LD_LIBRARY_PATH")]))})
    *calls, refused = done.stdout.splitlines()
    assert calls == ["made 1", "set 1", "set 1", "made 2", "set 2", "set 1", "set -1", "made 3"]
    assert refused.startswith("making a context on cuda:3 failed with cudaErrorDevicesUnavailable")


class OfTorch(SecondVersion):
    """As a tensor of torch: it gives its memory where torch's current device is its own, and orders that one's stream."""

    def __init__(self, gpu, host, machine):
        super().__init__(gpu, host)
        self._machine = machine

    def __dlpack__(self, stream=None):
        if self._machine.current() != self._gpu.index:
            raise BufferError(f"Can't export tensors on a different CUDA device index. Expected: {self._gpu.index}.")
        return super().__dlpack__(stream)


@pytest.mark.parametrize("context", COME_WITH)
def test_a_tensor_of_another_device_than_torchs_current_one_is_taken(two, power, context):
    gpu = CudaDevice(1)
    array = OfTorch(gpu, power, two)
    two.bind(context)
    assert foreign_array(array, gpu).shape == power.shape and two.current() == context


def test_an_array_of_another_device_is_refused_where_its_interface_names_none(two, power):
    with pytest.raises(DeviceError, match=r"on cuda:0 and this engine on cuda:1.*move the array"):
        foreign_array(ArrayInterface(CudaDevice(0), power), CudaDevice(1))


def test_an_array_of_a_context_that_nothing_else_reaches_is_refused(two, power, monkeypatch):
    gpu = CudaDevice(1)
    with monkeypatch.context() as patch:
        patch.setattr(CudaDevice, "allocate", lambda gpu, nbytes: two.allocate(nbytes, OWN + 1))
        array = ArrayInterface(gpu, power)
    with pytest.raises(DeviceError, match=r"a context of its own on cuda:1.*import pycuda.autoprimaryctx"):
        foreign_array(array, gpu)


def test_a_map_may_be_taken_back_as_a_scene(two):
    gpu = CudaDevice(1)
    assert foreign_array(DeviceArray(gpu, (3, 4), np.uint8), gpu).shape == (3, 4)
