// log2 and exp2 of float32 from additions, multiplications and one division: the same bits on every processor, which the
// mathematical library of a platform does not promise. Needs round-to-nearest, no flush-to-zero, no contraction (float_env.h).
#pragma once

#include "common/host_device.h"

namespace hfd {

constexpr uint32_t kSqrtHalfBits = 0x3f3504f3u;

// log2 m / s of s below, from its square.
template <class T>
HFD_HD T log2_series(T q) {
  return 2.88539008f + q * (0.961796694f + q * (0.577078016f + q * (0.412198583f + q * 0.320598898f)));
}

// log2(x) - shift of a number that is usual (see rank_of); shift is a whole number.
// x = 2^e * m with m in [sqrt(1/2), sqrt(2)); log2 m = 2/ln 2 * atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: five terms of the
// series leave 2e-9 of s.
template <class T>
HFD_HD T log2_of_usual(T x, T shift) {
  using Signed = typename Of<T>::Signed;
  using Unsigned = typename Of<T>::Unsigned;
  const Unsigned bits = bits_of<T>(x);
  const Signed exponent = bits_as<Signed>(bits - kSqrtHalfBits) >> 23;
  const T m = bits_as<T>(bits - (bits_as<Unsigned>(exponent) << 23));
  const T s = (m - 1.0f) / (m + 1.0f);
  const T series = log2_series<T>(s * s);
  return (Of<T>::to_float(exponent) - shift) + s * series;
}

// log2 of a positive number, denormal ones included; infinity stays infinity. Absolute error below 1e-7 * (1 + |log2 x|).
template <class T>
HFD_HD T log2_poly(T x) {
  constexpr float kTwo24 = 16777216.0f, kSmallestNormal = 1.17549435e-38f;
  const auto denormal = x < kSmallestNormal;
  const T result = log2_of_usual<T>(denormal ? x * kTwo24 : x, denormal ? every<T>(24.0f) : every<T>(0.0f));
  return bits_of(x) == 0x7f800000u ? x : result;
}

// A number is usual if it is positive and neither denormal nor infinite: if its rank is below kUnusual.
constexpr int32_t kUnusual = -0x01000000;
template <class T>
HFD_HD typename Of<T>::Signed rank_of(T x) {
  return bits_as<typename Of<T>::Signed>(bits_of(x) + 0x7f800000u);  // the smallest normal number gets the lowest integer
}

// 2^x, relative error below 3e-7; 0 below -150 (half the smallest denormal), infinity from 128.5 on at the latest.
// x = n + f, |f| <= 1/2; the Taylor series of 2^f to the 7th power leaves 6e-9. 2^n in two factors, so that a denormal result is
// rounded once and n = 128 does not overflow early.
template <class T>
HFD_HD T exp2_poly(T x) {
  using Signed = typename Of<T>::Signed;
  using Unsigned = typename Of<T>::Unsigned;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number kept in the low bits
  constexpr uint32_t kMagicBits = 0x4b400000u;
  const T t = Of<T>::lower(every<T>(130.0f), Of<T>::higher(every<T>(-152.0f), x));
  const T shifted = t + kMagic;
  const Signed n = bits_as<Signed>(bits_of(shifted) - kMagicBits);
  const T f = t - (shifted - kMagic);
  const T tail = 0.00961812911f + f * (0.00133335581f + f * (0.000154035304f + f * 1.52527338e-05f));
  const T series = 1.0f + f * (0.693147181f + f * (0.240226507f + f * (0.0555041087f + f * tail)));
  const Signed half = n >> 1;
  const T first = bits_as<T>(bits_as<Unsigned>(half + 127) << 23);
  const T second = bits_as<T>(bits_as<Unsigned>(n - half + 127) << 23);
  return series * first * second;
}

}  // namespace hfd
