// log2 of most numbers in the fewest instructions of a GPU: the bits of log2_poly (log_exp.h).
#pragma once

#include "common/log_exp.h"

#ifndef __CUDACC__
#include <cfenv>
#endif

namespace hfd {

#ifdef __CUDACC__
// a * b + c, rounded once: to the nearest, or up.
HFD_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
HFD_DEVICE float fused_up(float a, float b, float c) { return __fmaf_ru(a, b, c); }

// 1 / x, a unit in the last place off or so, which differs from GPU to GPU.
HFD_DEVICE float near_reciprocal(float x) {
  float found;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(found) : "f"(x));
  return found;
}
#else
#include "emulated_log.h"  // tests/emulated_cuda
#endif

// (m - 1) / (m + 1), correctly rounded, for m in [sqrt(1/2), sqrt(2)). A division's own sequence but for two things: no check of ranges,
// and the reciprocal is rounded up, without which 1 - 2^-23 needs a luckier first step than others. The quotient is then exact from any
// first step within four units in the last place: each of the 2^23 m was tried (tests/test_cuda_log.py).
HFD_DEVICE float log_argument(float m) {
  const float n = m - 1.0f, d = m + 1.0f, near = near_reciprocal(d);
  const float reciprocal = fused_up(near, fused(-d, near, 1.0f), near);
  const float quotient = n * reciprocal;
  return fused(fused(-d, quotient, n), reciprocal, quotient);
}

// log2 of a positive number that is neither denormal nor infinite.
HFD_DEVICE float log2_of_normal(float x) {
  const uint32_t bits = bits_of(x), exponent = (bits - kSqrtHalfBits) & 0xff800000u;  // times 2^23
  const float s = log_argument(bits_as<float>(bits - exponent));
  const float part = s * log2_series(s * s);
  return fused(static_cast<float>(bits_as<int32_t>(exponent)), 0x1p-23f, part);  // the product is exact: rounded as exponent + part is
}

}  // namespace hfd
