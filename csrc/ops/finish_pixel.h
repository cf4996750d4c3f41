// The maths of finish, pixel by pixel, for both compilers. Twin: tests/reference.py::finish.
#pragma once

#include "common/log_exp.h"

namespace hfd {

// Columns between two logits: cell j holds the `stride` pixels that lie at or right of the centre of logit j and left of the next
// one's; cell -1 and the last one have one neighbour only. Phase p is the pixel's number within its cell.
HFD_HD int64_t cell_of(int64_t x, int64_t stride) { return (x + stride - stride / 2) / stride - 1; }
HFD_HD int64_t first_pixel(int64_t cell, int64_t stride) { return cell * stride + stride / 2; }
HFD_HD float phase_fraction(int64_t phase, int64_t stride) {
  return static_cast<float>(2 * phase + (stride % 2 == 0 ? 1 : 0)) / static_cast<float>(2 * stride);
}

// Where output pixel x of a half-pixel up-sampling by `stride` lies between two logits.
struct Between {
  int64_t low, high;
  float fraction;  // 0 = low alone: the other is not read, so its NaN or infinity stays where it is
};

// u = (2 x + 1 - stride) / (2 stride), clamped to the first and last logit; whole numbers until the one division.
template <class Int>
HFD_HD Between between(Int x, Int stride, Int count) {
  const Int numerator = 2 * x + 1 - stride, denominator = 2 * stride;
  if (numerator <= 0) return {0, 0, 0.0f};
  const Int low = numerator / denominator;
  if (low >= count - 1) return {count - 1, count - 1, 0.0f};
  const float fraction = static_cast<float>(numerator % denominator) / static_cast<float>(denominator);
  return {low, fraction > 0.0f ? low + 1 : low, fraction};
}

template <class T>  // float, or a vector of them
HFD_HD T lerp(T a, T b, float fraction) {
  return a + fraction * (b - a);
}

// Logits whose bits, without the sign, are below this are tame: no sum or difference of two lerps of them can leave float32, so no
// NaN can come up.
constexpr uint32_t kTame = 0x7e000000u;  // 2^125

constexpr float kLog2E = 1.44269504f;

// One term of the softmax's sum, relative to the largest logit: e^(logit - largest), at least 2^-125, which a sum of 1 or more
// does not feel. Infinity minus infinity is no number and counts as no difference. As exp2_poly, but for -125..0 alone and so
// cheaper: relative error below 3e-7. kIsCalm: their bits, without the sign, are below kCalm, so that neither bound can be reached.
constexpr uint32_t kCalm = 0x422c0000u;  // 43
template <bool kIsCalm = false, class T>
HFD_HD T softmax_term(T logit, T largest) {
  using Unsigned = typename Of<T>::Unsigned;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23, see exp2_poly
  const T difference = (logit - largest) * kLog2E;
  const T t = kIsCalm ? difference : Of<T>::higher(Of<T>::lower(difference, every<T>(0.0f)), every<T>(-125.0f));
  const T shifted = t + kMagic;
  const T f = t - (shifted - kMagic);
  const T tail = 0.0555041087f + f * (0.00961812911f + f * (0.00133335581f + f * 0.000154035304f));
  const T series = 1.0f + f * (0.693147181f + f * (0.240226507f + f * tail));
  const Unsigned whole = bits_of(shifted) << 23;  // the whole part of t goes into the exponent
  return bits_as<T>(bits_of(series) + whole);
}

// 0..254 for the probability 1 / softmax_sum, rounded half up. Of terms relative to the largest logit it is that logit's; the sum divided
// by another one's term is relative to that, and infinity where a probability of 2^-128 is none.
template <class T>
HFD_HD typename Of<T>::Signed score_step(T softmax_sum) {
  return Of<T>::to_int(254.0f * (1.0f / softmax_sum) + 0.5f);
}

}  // namespace hfd
