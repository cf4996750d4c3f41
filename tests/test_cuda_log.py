"""The logarithm of a GPU's gather (csrc/common/log_cuda.h) gives the bits of the CPU's, whatever the first step of its division was."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from hfd_edge import _native
from hfd_edge.device.memory import CudaDevice
from tests import emulated_cuda

# What stands in for the GPU: a reciprocal `error` units in the last place off, and a second step rounded up, or not.
STAND_IN = """
inline int error = 0, rounding = FE_UPWARD;
inline float fused(float a, float b, float c) { return std::fmaf(a, b, c); }
inline float fused_up(float a, float b, float c) {
  const volatile float x = a, y = b, z = c;
  std::fesetround(rounding);
  const volatile float found = std::fmaf(x, y, z);
  std::fesetround(FE_TONEAREST);
  return found;
}
inline float near_reciprocal(float x) { return bits_as<float>(bits_of(1.0f / x) + static_cast<uint32_t>(error)); }
"""
PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include "common/log_cuda.h"

int main(int, char** given) {
  using namespace hfd;
  error = std::atoi(given[1]);
  rounding = std::atoi(given[2]) ? FE_UPWARD : FE_TONEAREST;
  long wrong = 0;
  for (uint32_t bits = kSqrtHalfBits; bits < kSqrtHalfBits + (1u << 23); ++bits) {
    const float m = bits_as<float>(bits);
    wrong += bits_of(log_argument(m)) != bits_of((m - 1.0f) / (m + 1.0f));
    const float x = bits_as<float>((bits & 0x7fffffu) | (1u + bits % 254u) << 23);
    wrong += bits_of(log2_of_normal(x)) != bits_of(log2_poly(x));
  }
  std::printf("%ld", wrong);
}
"""
EMULATED = pytest.mark.skipif(emulated_cuda.why_not() is not None, reason=str(emulated_cuda.why_not()))


@pytest.fixture(scope="module")
def wrong_of_all(tmp_path_factory):
    """How many of all mantissas come out wrong, for an error of the first step and a rounding of the second."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("log")
    (folder / "emulated_log.h").write_text(STAND_IN)
    (folder / "main.cpp").write_text(PROGRAM)
    includes = [f"-I{folder}", f"-I{emulated_cuda.ROOT / 'csrc'}"]
    subprocess.run(["g++", "-std=c++17", "-O2", "-ffp-contract=off", "-frounding-math", *includes, str(folder / "main.cpp"), "-o", str(folder / "main")],
                   check=True)
    return lambda error, up: int(subprocess.run([folder / "main", str(error), str(int(up))], check=True, text=True, capture_output=True).stdout)


@pytest.mark.parametrize("error", [-1, 0, 1, *(pytest.param(e, marks=pytest.mark.slow) for e in (-4, -3, -2, 2, 3, 4))])
def test_every_mantissa_has_the_cpus_quotient_and_logarithm(wrong_of_all, error):
    assert wrong_of_all(error, True) == 0


def test_a_second_step_rounded_to_the_nearest_would_be_noticed(wrong_of_all):
    assert wrong_of_all(1, False) > 0


def powers() -> np.ndarray:
    """Numbers of all exponents, then numbers of no usual kind among usual ones."""
    rng = np.random.default_rng(0)
    usual = rng.integers(0x00800000, 0x7f800000, 1 << 18, np.uint32).view(np.float32)
    odd = np.float32([0, -0.0, -1, 1e-40, np.inf, np.nan, 3.4e38, 1.1754944e-38, 1.1754942e-38, 7, 1, 2])
    return np.concatenate([usual, rng.choice(np.concatenate([odd, usual[:40]]), 1 << 12)]).reshape(-1, 512)


def assert_same(device, values: np.ndarray, options: dict) -> None:
    """One gather of (rows, cols) values on the emulated device and on the CPU."""
    options = {"unit": "intensity", "model_unit": "db", "scale": 1.0, "offset": 0.0, "nodata": [7.0], "floor": -35.0, "clip_low": [], "clip_high": [],
               **options}
    wanted, wanted_status = np.empty((1, *values.shape), np.float32), np.empty(values.shape, np.uint8)
    _native.Gather(**options).run(values[None], (0, 0), values.shape, (0, 0), wanted, wanted_status, None, 2)
    with device.installed():
        gpu = CudaDevice(0)
        stream = gpu.stream()
        there, tile, status = (gpu.allocate(n) for n in (values.nbytes, wanted.nbytes, values.size))
        gpu.copy_in(there.ptr, values.view(np.uint8), stream.handle)
        scene = gpu.native.Scene(there.ptr, values.dtype.str[1:], (1, *values.shape), (values.nbytes, *values.strides), None, (0, 0), values.shape)
        gpu.native.Gather(**options).run(scene, [(0, 0, 0, 0, *values.shape)], values.shape, (tile.ptr, tile.nbytes), (status.ptr, status.nbytes),
                                         None, (gpu.index, stream.handle))
        got, got_status = np.empty_like(wanted), np.empty_like(wanted_status)
        gpu.copy_out(got, tile.ptr, stream.handle)
        gpu.copy_out(got_status, status.ptr, stream.handle)
        gpu.synchronize(stream.handle)
    different = np.flatnonzero((got.view(np.uint32) != wanted.view(np.uint32)).ravel())
    assert different.size == 0, [tuple(a.ravel()[i] for a in (values, got, wanted)) for i in different[:3]]
    assert (got_status == wanted_status).all()


@EMULATED
@pytest.mark.parametrize(("clip", "mean", "gain", "scale"), [((-35.0, 5.0), -12.0, 0.2, 1.0), ((-np.inf, np.inf), 0.0, 1.0, 0.37),
                                                             ((-np.inf, 0.0), 0.0, 1e37, 1.0), ((1e38, 3e38), -3e38, 1.0, 1.0)])
def test_gather_gives_the_cpus_decibels(emulated_device, clip, mean, gain, scale):
    assert_same(emulated_device, powers(), {"clip_low": [clip[0]], "clip_high": [clip[1]], "mean": [mean], "gain": [gain], "scale": scale})


@EMULATED
@pytest.mark.parametrize("unit", ["intensity", "db"])
@pytest.mark.parametrize("negative", ["clip_low", "clip_high", "mean", "gain", "offset", "floor"])
def test_minus_zero_is_zero_in_every_option(emulated_device, unit, negative):
    floor = np.nan if unit == "intensity" else -3.0
    options = {"clip_low": [-2.0], "clip_high": [3.0], "mean": [0.0], "gain": [-1.0], "offset": 0.0, "floor": floor, "scale": 0.5}
    options[negative] = [-0.0] if isinstance(options[negative], list) else -0.0
    if negative == "clip_high":
        options["gain"] = [1.0]
    assert_same(emulated_device, powers()[-8:], {**options, "model_unit": unit})


@EMULATED
@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize(("unit", "dtype"), [("amplitude", "u2"), ("amplitude", "f4"), ("amplitude", "i4"), ("intensity", "f8"), ("complex", "c8")])
def test_gather_gives_the_cpus_decibels_of_every_kind_of_pixel(emulated_device, unit, dtype, scale):
    if dtype in ("u2", "i4"):
        values = np.arange(1 << 16, dtype=dtype)
    else:
        values = np.sort(np.abs(powers()[np.isfinite(powers())])[:1 << 16]).astype(dtype)       # most fours are usual, some are not
        values *= 1 if dtype != "c8" else np.complex64(0.6 - 0.8j)
    assert_same(emulated_device, values.reshape(-1, 256), {"unit": unit, "scale": scale, "mean": [-12.0], "gain": [0.2]})
