"""A scene on a device is counted there: the host's whole numbers, after the caller's stream, and no pixel comes down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfd_edge.device.memory import CudaDevice
from hfd_edge.errors import ArrayError, RadiometryError
from hfd_edge.radiometry import SourceRadiometry
from hfd_edge.segmenter import Segmenter
from hfd_edge.source import ArraySource
from hfd_edge.source.device import DeviceArraySource
from hfd_edge.source.device_counts import SaturatedPixels
from hfd_edge.source.saturation import saturated
from hfd_edge.source.vector import count_scene
from tests import emulated_cuda, recorded
from tests.device_engine import emulated_segmenter

pytestmark = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64", "complex128"]
LAYOUTS = (*recorded.LAYOUTS, "transposed", "half")
POLICIES = [("lazy", 0), ("eager", 0), ("random", 1)]


def lay_out(values: np.ndarray, layout: str) -> tuple[int, tuple[int, int, int], np.ndarray]:
    """As recorded.lay_out; also columns far apart, and complex numbers at addresses that fit their parts alone."""
    offset, strides, memory = recorded.lay_out(values.swapaxes(1, 2) if layout == "transposed" else values, layout)
    if layout == "transposed":
        return offset, (strides[0], strides[2], strides[1]), memory
    half = values.itemsize // 2 if layout == "half" else 0
    return offset + half, strides, np.concatenate([np.zeros(half, np.uint8), memory])


class OnDevice:
    """An array of any strides, whose copy to the device nobody has waited for."""

    def __init__(self, gpu, host: np.ndarray, layout: str = "plain") -> None:
        offset, strides, self._memory = lay_out(host if host.ndim == 3 else host[np.newaxis], layout)
        self._buffer, self.stream = gpu.allocate(self._memory.nbytes), gpu.stream()
        gpu.copy_in(self._buffer.ptr, self._memory, self.stream.handle)
        self.__cuda_array_interface__ = {"version": 3, "shape": host.shape, "typestr": host.dtype.str, "strides": strides[-host.ndim:],
                                         "data": (self._buffer.ptr + offset, False), "stream": self.stream.handle}


def stored(rng: np.random.Generator, dtype: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, SourceRadiometry]:
    """Numbers with nodata, zeros and the end of their scale among them, and what they are."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        top = np.iinfo(dtype).max
        values = np.minimum(rng.gamma(2, top / 9, shape), top).astype(dtype)
        return values, SourceRadiometry("amplitude", scale=3 / top, nodata=(7.0, 0.5), saturation=top * 0.4)
    values = rng.normal(0, 1, shape) + (1j * rng.normal(0, 1, shape) if kind == "c" else 0)
    values[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 0.5, 1e30])
    with np.errstate(over="ignore"):
        return values.astype(dtype), SourceRadiometry("complex" if kind == "c" else "intensity", nodata=(0.5,), saturation=1.1)


def mask_of(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.choice(np.uint8([0, 1, 255]), shape, p=[0.2, 0.4, 0.4])


def both(gpu, values, valid=None, layout="plain") -> tuple[ArraySource, DeviceArraySource]:
    there = None if valid is None else OnDevice(gpu, valid, "gaps")
    return ArraySource(values, len(values), valid), DeviceArraySource(OnDevice(gpu, values, layout), len(values), there, gpu)


def assert_counted_alike(host: ArraySource, there: DeviceArraySource, declared: SourceRadiometry) -> None:
    wanted, found = count_scene(host, declared, 2), count_scene(there, declared, 1)
    np.testing.assert_array_equal(found.power, wanted.power)
    np.testing.assert_array_equal(found.totals, wanted.totals)
    assert SaturatedPixels(there, declared).total() == np.count_nonzero(saturated(*host.read(0, host.rows), declared))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_scene_on_a_device_has_the_hosts_counts(gpu, dtype, masked):
    rng = np.random.default_rng(len(dtype))
    for layout in LAYOUTS:
        values, declared = stored(rng, dtype, (2, 37, 61))
        host, there = both(gpu, values, mask_of(rng, (37, 61)) if masked else None, layout)
        assert_counted_alike(host, there, declared)
        assert SaturatedPixels(there, declared).total() > 0


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES), layout=st.sampled_from(LAYOUTS), masked=st.booleans(),
       shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 70)), strip=st.integers(1, 2000))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_counts_are_the_hosts_for_any_shape_and_strip(gpu, seed, dtype, layout, masked, shape, strip):
    rng = np.random.default_rng(seed)
    values, declared = stored(rng, dtype, shape)
    values.flat[::shape[1] * shape[2]] = 1                              # a pixel that has a value in every band
    valid = mask_of(rng, shape[1:]) if masked else None
    if masked:
        valid[0, 0] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfd_edge.source.device_counts._STRIP_PX", strip)
        assert_counted_alike(*both(gpu, values, valid, layout), declared)


@pytest.mark.parametrize("layout", ["plain", "transposed"])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_scenes_larger_than_all_threads_at_once_are_counted_to_the_end(gpu, dtype, layout):
    values = np.zeros((1, 2049, 2311 if dtype == "uint8" else 1201), dtype)
    at = np.random.default_rng(0).choice(values.size, 5000, replace=False)
    values.flat[at], values.flat[-1] = 200, 200
    declared = SourceRadiometry("amplitude", scale=0.01, saturation=200)
    assert SaturatedPixels(DeviceArraySource(OnDevice(gpu, values, layout), 1, None, gpu), declared).total() == np.count_nonzero(values)


@pytest.mark.parametrize(("dtype", "level"), [("uint8", 255.5), ("int16", 1e9), ("float32", 3.5e38), ("complex64", 1e300)])
def test_a_level_above_all_numbers_of_the_dtype_counts_nothing_and_asks_the_device_nothing(gpu, emulated_device, dtype, level):
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = np.full((1, 5, 9), limits.max, dtype)
    declared = SourceRadiometry("complex" if dtype == "complex64" else "amplitude", scale=1e-30, saturation=level)
    source, kernels = DeviceArraySource(OnDevice(gpu, values), 1, None, gpu), emulated_device.counts()["kernels"]
    assert SaturatedPixels(source, declared).total() == 0 == np.count_nonzero(saturated(values, None, declared))
    assert emulated_device.counts()["kernels"] == kernels


def test_a_level_that_no_stored_number_is_is_refused(gpu):
    source = DeviceArraySource(OnDevice(gpu, np.ones((1, 3, 4), np.uint8)), 1, None, gpu)
    for level in (255.5, 256.0, float("nan")):
        with pytest.raises(ArrayError, match="no stored number is that"):
            gpu.native.count_saturated(source.scene(), [], level, (0, 8), (0, 0))
    with pytest.raises(ArrayError, match="total has 4 bytes"):
        gpu.native.count_saturated(source.scene(), [], 255.0, (0, 4), (0, 0))


def test_more_nodata_values_than_a_kernel_holds_are_refused(gpu):
    source = DeviceArraySource(OnDevice(gpu, np.ones((1, 3, 4), np.uint8)), 1, None, gpu)
    with pytest.raises(ArrayError, match="33 nodata values"):
        SaturatedPixels(source, SourceRadiometry("amplitude", scale=2.0, nodata=tuple(range(33)), saturation=255))
    assert SaturatedPixels(source, SourceRadiometry("amplitude", scale=2.0, nodata=tuple(range(-40, 0)), saturation=1)).total() == 12


@pytest.mark.parametrize("how", ["nan", "mask", "nodata"])
def test_a_scene_without_one_valid_pixel_is_an_error(gpu, how):
    values = np.full((2, 30, 40), np.nan if how == "nan" else 0.25, np.float32)
    _, there = both(gpu, values, np.zeros((30, 40), np.uint8) if how == "mask" else None)
    with pytest.raises(RadiometryError, match="not one of the 30 x 40 pixels is valid"):
        count_scene(there, SourceRadiometry("intensity", nodata=(0.25,) if how == "nodata" else ()), 1)


def test_no_pixel_comes_to_the_host(gpu, monkeypatch):
    values, declared = stored(np.random.default_rng(3), "uint16", (2, 300, 410))
    host, there = both(gpu, values)
    down, real = [], CudaDevice.copy_out
    monkeypatch.setattr(CudaDevice, "copy_out", lambda gpu, host, *rest: down.append(host.shape) or real(gpu, host, *rest))
    assert_counted_alike(host, there, declared)
    assert down == [(2, 0x7f80), (2, 2), (1,)]


@pytest.mark.parametrize(("policy", "seed"), POLICIES)
def test_the_callers_stream_is_waited_for(gpu, emulated_device, policy, seed):
    emulated_device.policy(policy, seed)
    values, declared = stored(np.random.default_rng(4), "float32", (2, 50, 61))
    assert_counted_alike(*both(gpu, values, mask_of(np.random.default_rng(5), (50, 61))), declared)


@pytest.mark.parametrize("what", ["power", "saturated"])
def test_without_waiting_for_the_callers_stream_the_counts_are_wrong(gpu, monkeypatch, what):
    values, declared = stored(np.random.default_rng(4), "uint16", (2, 50, 61))
    monkeypatch.setattr(DeviceArraySource, "order_after_caller", lambda source, stream: None)
    host, there = both(gpu, values)                                     # whose memory is still as it was allocated: poisoned
    if what == "power":
        assert (count_scene(there, declared, 1).power != count_scene(host, declared, 1).power).any()
    else:
        assert SaturatedPixels(there, declared).total() != np.count_nonzero(saturated(values, None, declared))


def test_the_count_of_saturated_pixels_is_enqueued_without_waiting(gpu, emulated_device):
    values, declared = stored(np.random.default_rng(6), "uint16", (2, 50, 61))
    host, there = both(gpu, values)
    before = emulated_device.counts()
    counting = SaturatedPixels(there, declared)
    after = emulated_device.counts()
    assert after["synchronisations"] == before["synchronisations"] and after["waiting"] > before["waiting"]
    assert counting.total() == np.count_nonzero(saturated(values, None, declared))


@pytest.fixture(scope="module")
def bright(power):
    """uint16 amplitude with saturated pixels, some of them nodata in the other band."""
    scene = (np.sqrt(power) * 3000).astype(np.uint16)
    scene[0, ::7, ::11], scene[1, :20] = 65535, 0
    return scene, SourceRadiometry("amplitude", scale=1 / 3000, nodata=(0.0,), saturation=65535.0)


@pytest.mark.parametrize(("policy", "seed"), POLICIES)
@pytest.mark.parametrize("masked", [False, True])
def test_a_run_on_the_device_reports_the_cpus_saturated_pixels(db_engine, bright, gpu, emulated_device, policy, seed, masked):
    scene, declared = bright
    valid = mask_of(np.random.default_rng(1), scene.shape[1:]) if masked else None
    with Segmenter(db_engine, tile=48, halo=16) as cpu:
        wanted = cpu.run(scene, declared, valid)
    assert wanted.report.saturated_pixels > 20
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        emulated_device.policy(policy, seed)
        there = None if valid is None else OnDevice(gpu, valid)
        for layout in ("plain", "interleaved"):
            result = seg.run(OnDevice(gpu, scene, layout), declared, there)
            np.testing.assert_array_equal(result.labels.numpy(), wanted.labels)
            assert result.report.saturated_pixels == wanted.report.saturated_pixels
        assert seg.run(scene, declared, valid).report.saturated_pixels == wanted.report.saturated_pixels      # from the host, strip by strip
        assert seg.run(OnDevice(gpu, scene), SourceRadiometry("amplitude", 1 / 3000), there).report.saturated_pixels is None


def test_counting_waits_once_a_run(db_engine, bright, gpu, emulated_device):
    scene, declared = bright
    plain, waited = SourceRadiometry("amplitude", 1 / 3000, nodata=(0.0,)), []
    with emulated_segmenter(db_engine, emulated_device, tile=48, halo=16) as seg:
        seg.run(OnDevice(gpu, scene), plain)
        for each in (plain, declared):
            before = emulated_device.counts()["synchronisations"]
            seg.run(OnDevice(gpu, scene), each)
            waited.append(emulated_device.counts()["synchronisations"] - before)
    assert waited[1] == waited[0] + 1
