"""Arrays of other libraries on a device: taken without a copy, their streams waited for; maps given in the same way."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from hfd_edge.device.array import DeviceArray, foreign_array, is_on_device, stream_handle
from hfd_edge.device.dlpack import capsule_of, tensor_in
from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import ArrayError, DeviceError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from tests import emulated_cuda
from tests.device_engine import emulated_segmenter, filled

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


class ArrayInterface:
    """As CuPy and Numba show their arrays; PyCUDA's GPUArray does too, with stream None."""

    def __init__(self, gpu, host, stream=None, order="C"):
        memory = np.asfortranarray(host) if order == "F" else np.ascontiguousarray(host)
        self._buffer, self._host = gpu.allocate(memory.nbytes), np.frombuffer(memory.tobytes(order="A"), np.uint8)
        self.stream = gpu.stream()
        gpu.copy_in(self._buffer.ptr, self._host, self.stream.handle)      # not waited for: whoever reads must
        self.__cuda_array_interface__ = {
            "version": 3, "shape": host.shape, "typestr": memory.dtype.str, "data": (self._buffer.ptr, False),
            "strides": None if order == "C" else memory.strides, "stream": self.stream.handle if stream is None else stream or None}


class SecondVersion(ArrayInterface):
    """As JAX and torch: an array interface that knows no streams, and DLPack, which orders a stream after what makes the array."""

    def __init__(self, gpu, host):
        super().__init__(gpu, host)
        self._gpu, self._shape, self._dtype, self.ordered = gpu, host.shape, host.dtype, []
        self.__cuda_array_interface__ = {**self.__cuda_array_interface__, "version": 2}
        del self.__cuda_array_interface__["stream"]

    def __dlpack_device__(self):
        return 2, self._gpu.index

    def __dlpack__(self, stream=None):
        self.ordered.append(stream)
        made = self._gpu.event()
        made.record(self.stream.handle)
        self._gpu.wait(stream, made)
        return capsule_of(self, self._buffer.ptr, self._shape, self._dtype, self._gpu.index)


class OnlyDlpack:
    """As TensorFlow: no array interface."""

    def __init__(self, array):
        self._array = array

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, stream=None):
        return self._array.__dlpack__(stream=stream)


@pytest.mark.parametrize("how", ["interface", "fortran", "dlpack"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_scene_on_the_device_gives_the_map_of_the_host_and_stays_there(db_engine, power, gpu, emulated_device, how, masked):
    mask = (np.random.default_rng(0).random(power.shape[1:]) < 0.9).astype(np.uint8) if masked else None
    with Segmenter(db_engine, tile=48, halo=16) as cpu:
        wanted = cpu.run(power, "intensity", mask)
    there = {"interface": lambda h: ArrayInterface(gpu, h), "fortran": lambda h: ArrayInterface(gpu, h, order="F"),
             "dlpack": lambda h: OnlyDlpack(filled(gpu, h))}[how]
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        result = seg.run(there(power), "intensity", None if mask is None else there(mask))
        assert isinstance(result.labels, DeviceArray) and result.labels.device == "cuda:0"
        np.testing.assert_array_equal(result.labels.numpy(), wanted.labels)
        np.testing.assert_array_equal(result.confidence.numpy(), wanted.confidence)
        assert result.report.nodata_share == wanted.report.nodata_share
        with pytest.raises(DeviceError, match="not copied in silence"):
            np.asarray(result.labels)


@pytest.mark.parametrize("dtype", ["uint16", "complex64"])
def test_stored_pixels_of_any_dtype_are_read_where_they_lie(db_engine, power, gpu, emulated_device, dtype):
    scene = (np.sqrt(power) if dtype == "complex64" else np.sqrt(power) * 3000).astype(dtype)
    declared = SourceRadiometry("complex") if dtype == "complex64" else SourceRadiometry("amplitude", scale=1 / 3000)
    with Segmenter(db_engine, tile=48, halo=16) as cpu, emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        result = seg.run(ArrayInterface(gpu, scene), declared)
        np.testing.assert_array_equal(result.labels.numpy(), cpu.run(scene, declared).labels)


def test_the_callers_stream_is_waited_for_and_without_it_the_pixels_are_not_there(db_engine, power, gpu, emulated_device):
    emulated_device.policy("lazy")
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        array = ArrayInterface(gpu, power, stream=0)                            # tells no stream, as PyCUDA's does
        assert seg.run(array, "intensity", stream=array.stream).report.nodata_share == 0
        with pytest.raises(RadiometryError, match="below 0"):                   # what freshly allocated memory is filled with here
            seg.run(ArrayInterface(gpu, power, stream=0), "intensity")


def test_an_array_interface_without_streams_is_ordered_by_dlpack_unless_the_caller_names_a_stream(db_engine, power, gpu, emulated_device):
    emulated_device.policy("lazy")
    with Segmenter(db_engine, tile=48, halo=16) as cpu, emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        wanted = cpu.run(power, "intensity").labels
        for stream, ordered in ((None, {1}), ("own", set())):
            array = SecondVersion(gpu, power)
            result = seg.run(array, "intensity", stream=array.stream if stream else None)
            np.testing.assert_array_equal(result.labels.numpy(), wanted)
            assert set(array.ordered) == ordered


def test_a_capsule_lives_until_its_consumer_is_done(gpu):
    import gc
    import weakref
    array = filled(gpu, np.arange(6, dtype=np.int16).reshape(2, 3))
    seen = weakref.ref(array)
    capsule = array.__dlpack__(stream=None)
    tensor = tensor_in(capsule)
    assert (tensor.ptr, tensor.shape, tensor.strides, tensor.dtype) == (array.ptr, (2, 3), (3, 1), np.int16)
    del array
    gc.collect()
    assert seen() is not None
    del capsule, tensor
    gc.collect()
    assert seen() is None


def test_what_asks_for_a_copy_or_another_device_does_not_get_the_map_itself(gpu):
    array = filled(gpu, np.arange(6, dtype=np.int16).reshape(2, 3))
    assert array.__dlpack__(stream=None, max_version=(1, 1), dl_device=(2, 0), copy=False)
    for asked in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError, match="not as a copy or on device"):
            array.__dlpack__(**asked)


def test_managed_memory_of_the_device_is_read_where_it_lies(db_engine, power, gpu, emulated_device):
    """As CuPy's, where its allocator is that of cudaMallocManaged."""
    class Managed(ArrayInterface):
        def __dlpack_device__(self):
            return 13, 0

    with Segmenter(db_engine, tile=48, halo=16) as cpu, emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        result = seg.run(Managed(gpu, power), "intensity")
        np.testing.assert_array_equal(result.labels.numpy(), cpu.run(power, "intensity").labels)


class Torch:
    cuda_stream = 7


class CuPy:
    ptr = 8


class PyCuda:
    handle = 9


class Numba:
    def __init__(self, address):
        self.handle = ctypes.c_void_p(address)          # of its own driver bindings


class Protocol:
    def __cuda_stream__(self):
        return 0, 10


@pytest.mark.parametrize(("stream", "handle"), [(6, 6), (Torch(), 7), (CuPy(), 8), (PyCuda(), 9), (Protocol(), 10), (Numba(11), 11), (Numba(0), 0)])
def test_streams_of_all_libraries_are_known(stream, handle):
    assert stream_handle(stream) == handle


def test_what_is_no_stream_is_refused():
    with pytest.raises(DeviceError, match="is no CUDA stream"):
        stream_handle("default")


def test_another_device_is_refused(gpu):
    class Elsewhere:
        def __dlpack_device__(self):
            return 2, 1
    with pytest.raises(DeviceError, match=r"\(2, 1\).*cuda:0"):
        foreign_array(Elsewhere(), gpu)


def test_a_device_array_on_a_cpu_segmenter_is_refused(db_engine, power, gpu):
    with Segmenter(db_engine) as seg, pytest.raises(DeviceError, match="runs on the CPU"):
        seg.run(filled(gpu, power), "intensity")


def test_a_host_mask_for_a_device_scene_is_refused(db_engine, power, gpu, emulated_device):
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg, pytest.raises(DeviceError, match="main memory"):
        seg.run(filled(gpu, power), "intensity", np.ones(power.shape[1:], bool))


def test_what_is_on_a_device_is_seen(gpu, power):
    assert is_on_device(filled(gpu, power)) and is_on_device(ArrayInterface(gpu, power))
    assert not is_on_device(power) and not is_on_device([1, 2])


@pytest.mark.needs_cuda
@pytest.mark.parametrize("library", ["torch", "cupy", "pycuda.gpuarray"])
def test_real_libraries_share_their_memory(library):
    module, host = pytest.importorskip(library), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    if library == "pycuda.gpuarray":
        pytest.importorskip("pycuda.autoprimaryctx")
    array = module.from_numpy(host).cuda() if library == "torch" else module.asarray(host) if library == "cupy" else module.to_gpu(host)
    seen = foreign_array(array, CudaDevice(0))
    assert seen.shape == host.shape and seen.dtype == host.dtype
    made = filled(CudaDevice(0), host)
    if library == "torch":
        np.testing.assert_array_equal(module.from_dlpack(made).cpu().numpy(), host)
    if library == "cupy":
        np.testing.assert_array_equal(module.asarray(made).get(), host)


@pytest.mark.parametrize("flag", ["is_neg", "is_conj"])
def test_a_view_that_is_not_what_its_memory_holds_is_refused(gpu, flag):
    """As torch's z.conj().imag, whose sign neither DLPack nor the array interface tells."""
    view = ArrayInterface(gpu, np.ones((2, 8, 8), np.float32))
    setattr(view, flag, lambda: True)
    with pytest.raises(ArrayError, match=r"give .resolve_conj\(\).resolve_neg\(\) of it"):
        foreign_array(view, gpu)
    setattr(view, flag, lambda: False)
    assert foreign_array(view, gpu).shape == (2, 8, 8)
