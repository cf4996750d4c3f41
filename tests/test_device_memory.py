"""Device memory, streams, events and graphs, on the emulated device and on a real one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import DeviceError
from tests import emulated_cuda

EMULATED = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


@pytest.fixture(params=[pytest.param("emulated", marks=EMULATED), pytest.param("cuda", marks=pytest.mark.needs_cuda)])
def gpu(request):
    if request.param == "cuda":
        yield CudaDevice(0)
        return
    with request.getfixturevalue("emulated_device").installed():
        yield CudaDevice(0)


def copied_up(gpu) -> None:
    there, stream, host = gpu.allocate(4), gpu.stream(), np.zeros(1, np.float32)
    gpu.copy_in(there.ptr, host, stream.handle)
    gpu.synchronize(stream.handle)


def waited_for(gpu, nbytes: int = 4) -> None:
    """Wait for an event behind so many filled bytes."""
    there, stream, filled = gpu.allocate(nbytes), gpu.stream(), gpu.event()
    gpu.fill(there.ptr, 0, nbytes, stream.handle)
    filled.record(stream.handle)
    filled.synchronize()


def staged(gpu, values: np.ndarray) -> np.ndarray:
    pinned = gpu.pinned(values.shape, values.dtype)
    pinned[...] = values
    return pinned


def test_what_goes_up_comes_down(gpu):
    values = np.arange(1 << 12, dtype=np.int32).reshape(16, -1)
    stream, there, back = gpu.stream(), gpu.allocate(values.nbytes), gpu.pinned(values.shape, values.dtype)
    pinned = staged(gpu, values)
    gpu.copy_in(there.ptr, pinned, stream.handle)
    gpu.copy_out(back, there.ptr, stream.handle)
    gpu.synchronize(stream.handle)
    np.testing.assert_array_equal(back, values)
    assert there.nbytes == values.nbytes and there.device == 0 and there.ptr % 256 == 0


def test_an_event_orders_two_streams(gpu):
    values = np.arange(1 << 12, dtype=np.int32)
    up, down, there, back = gpu.stream(), gpu.stream(), gpu.allocate(values.nbytes), gpu.pinned(values.shape, values.dtype)
    pinned = staged(gpu, values)
    gpu.copy_in(there.ptr, pinned, up.handle)
    arrived = gpu.event()
    arrived.record(up.handle)
    gpu.wait(down.handle, arrived)
    gpu.copy_out(back, there.ptr, down.handle)
    gpu.synchronize(down.handle)
    assert arrived.done()
    np.testing.assert_array_equal(back, values)


@EMULATED
def test_the_emulated_device_shows_a_missing_event(emulated_device):
    emulated_device.policy("lazy")
    with emulated_device.installed():
        gpu, values = CudaDevice(0), np.arange(1 << 12, dtype=np.int32)
        up, down, there, back = gpu.stream(), gpu.stream(), gpu.allocate(values.nbytes), gpu.pinned(values.shape, values.dtype)
        pinned = staged(gpu, values)
        gpu.copy_in(there.ptr, pinned, up.handle)
        gpu.copy_out(back, there.ptr, down.handle)
        gpu.synchronize(down.handle)
        assert (back == np.frombuffer(b"\xa5" * 4, np.int32)).all()


def test_a_captured_stream_is_repeated_by_its_graph(gpu):
    stream, there, back = gpu.stream(), gpu.allocate(64), gpu.pinned((64,), np.uint8)
    gpu.fill(there.ptr, 1, 64, stream.handle)
    gpu.synchronize(stream.handle)
    with gpu.captured(stream.handle) as graph:
        gpu.fill(there.ptr, 7, 64, stream.handle)
    gpu.copy_out(back, there.ptr, stream.handle)
    gpu.synchronize(stream.handle)
    assert (back == 1).all()                            # captured, not run
    graph.launch(stream.handle)
    gpu.copy_out(back, there.ptr, stream.handle)
    gpu.synchronize(stream.handle)
    assert (back == 7).all()


def test_a_stream_leaves_the_capture_after_an_error(gpu):
    stream, there = gpu.stream(), gpu.allocate(64)
    with pytest.raises(KeyError), gpu.captured(stream.handle):
        gpu.fill(there.ptr, 7, 64, stream.handle)
        raise KeyError("the block failed")
    gpu.fill(there.ptr, 7, 64, stream.handle)
    gpu.synchronize(stream.handle)


def test_memory_is_given_back(gpu):
    free, total = gpu.memory_info()
    there = gpu.allocate(1 << 26)
    assert gpu.memory_info()[0] <= free - (1 << 25) and total >= free
    there.free()
    there.free()
    assert there.ptr == 0 and gpu.memory_info()[0] >= free - (1 << 25)


def test_too_much_memory_is_refused_with_the_name_cuda_has_for_it(gpu):
    with pytest.raises(DeviceError, match=r"allocating \d+ bytes on cuda:0 failed with cudaErrorMemoryAllocation.*memory="):
        gpu.allocate(gpu.memory_info()[1] * 2)
    gpu.allocate(1)                                     # the failure is over


def test_a_pinned_array_outlives_its_device_object(gpu):
    pinned = gpu.pinned((3, 5), np.float32)
    pinned[...] = 2.5
    part = pinned[1:]
    del pinned
    assert (part == 2.5).all() and part.flags.writeable


def test_host_memory_out_of_order_is_refused(gpu):
    stream, there = gpu.stream(), gpu.allocate(64)
    with pytest.raises(ValueError, match="C order"):
        gpu.copy_in(there.ptr, np.zeros((4, 4), np.float32).T[:, :2], stream.handle)


@EMULATED
@pytest.mark.parametrize(("call", "code", "work"), [
    ("cudaMemcpyAsync", 700, lambda gpu: copied_up(gpu)),
    ("cudaStreamSynchronize", 700, lambda gpu: gpu.synchronize(gpu.stream().handle)),
    ("cudaEventQuery", 719, lambda gpu: waited_for(gpu)),
    ("cudaEventSynchronize", 719, lambda gpu: waited_for(gpu, 1 << 26)),
    ("cudaMalloc", 2, lambda gpu: gpu.allocate(4)),
    ("cudaHostAlloc", 2, lambda gpu: gpu.pinned((4,), np.uint8))])
def test_every_failure_is_a_device_error(emulated_device, call, code, work):
    with emulated_device.installed():
        gpu = CudaDevice(0)
        emulated_device.fail(call, code)
        with pytest.raises(DeviceError, match="failed with cudaError"):
            work(gpu)
        work(gpu)


@EMULATED
def test_a_failure_of_what_is_given_back_is_not_told_of_the_next_kernel(emulated_device):
    with emulated_device.installed():
        gpu = CudaDevice(0)
        status, stream, freed = gpu.allocate(64), gpu.stream(), gpu.allocate(16)
        emulated_device.fail("cudaFree", 900)           # as CUDA answers while this thread captures a graph
        freed.free()
        gpu.native.valid_of_status((status.ptr, 64), 64, (0, stream.handle))
        gpu.synchronize(stream.handle)


@EMULATED
def test_a_short_wait_is_watched_and_a_long_one_sleeps(emulated_device):
    with emulated_device.installed():
        gpu = CudaDevice(0)
        emulated_device.policy("lazy")
        slept = [emulated_device.counts()["slept"] for _ in range(20) if waited_for(gpu) is None]
        assert len(set(slept)) < 20                     # a busy machine may stop this process in the middle of a short one
        waited_for(gpu, 1 << 26)
        after = emulated_device.counts()
    assert after["slept"] == slept[-1] + 1 and after["spun"] == 0


def test_without_a_device_one_error_names_what_is_missing_and_the_ways_out():
    from hfd_edge import build_info
    if build_info()["cuda_module"]["devices"]:
        pytest.skip("there is a device")
    with pytest.raises(DeviceError, match=r"cuda:0.*(cudaError|no CUDA module).*device='cpu'"):
        CudaDevice(0)


def test_without_the_module_the_error_names_the_device_too(monkeypatch):
    import hfd_edge
    monkeypatch.delattr(hfd_edge, "_cuda", raising=False)
    monkeypatch.setitem(sys.modules, "hfd_edge._cuda", None)
    with pytest.raises(DeviceError, match=r"device='cuda:1': this installation has no CUDA module .*pip install.*device='cpu'"):
        CudaDevice(1)


@EMULATED
def test_a_driver_that_tells_no_clock_and_no_bus_loses_no_device(emulated_device):
    with emulated_device.installed():
        gpu = CudaDevice(0)
        emulated_device.fail("cudaDeviceGetAttribute", 1)
        emulated_device.fail("cudaDeviceGetPCIBusId", 1)
        found = gpu.native.devices()
    assert found["error"] is None and [(device["clock_khz"], device["pci_bus_id"]) for device in found["devices"]] == [(0, "")]


@EMULATED
def test_a_driver_older_than_the_toolkit_is_told_with_both_versions_and_the_ways_out(emulated_device):
    emulated_device.driver(12040)
    try:
        with emulated_device.installed(), pytest.raises(DeviceError, match=r"InsufficientDriver.*serves CUDA 12\.4 and hfd_edge was built with CUDA "
                                                                           r"13\.0: update the driver, or build hfd_edge with a toolkit"):
            CudaDevice(0)
    finally:
        emulated_device.driver()


@EMULATED
def test_a_device_that_is_not_there_is_refused_by_number(emulated_device):
    with emulated_device.installed(), pytest.raises(DeviceError, match=r"cuda:3.*this process sees cuda:0 emulated device"):
        CudaDevice(3)
