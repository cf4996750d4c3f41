// The maths of gather, pixel by pixel, for both compilers. Twin: tests/reference.py::gather.
#pragma once

#include "common/log_exp.h"

namespace hfd {

enum class Unit { intensity, amplitude, db, complex, dn };

// Bits while a row is worked on; in the finished plane nodata wins: 0 valid, 1 nodata, 2 valid but without signal.
enum Status : uint32_t { kValid = 0, kNodata = 1, kNoSignal = 2 };

constexpr float kDbPerLog2 = 3.01029996f;   // 10 log10(2)
constexpr float kLog2PerDb = 0.332192809f;  // log2(10) / 10

// Linear power of a calibrated value; `imaginary` counts for complex only.
template <Unit From, class T>
HFD_HD T power_of(T value, T imaginary) {
  if (From == Unit::amplitude) return value * value;
  if (From == Unit::db) return exp2_poly(value * kLog2PerDb);
  if (From == Unit::complex) return value * value + imaginary * imaginary;
  return value;
}

// What the network's unit makes of linear power. Power that is not positive has no root and no logarithm: 0, or the floor.
template <Unit To, class T>
HFD_HD T from_power(T power, T floor) {
  if (To == Unit::amplitude) return power > 0.0f ? Of<T>::root(power) : every<T>(0.0f);
  if (To == Unit::db) return power > 0.0f ? kDbPerLog2 * log2_poly(power) : floor;
  return power;
}

// Whether a unit tells the power of a pixel without a conversion that the network did not ask for.
HFD_HD constexpr bool knows_power(Unit from, Unit to) { return from != Unit::dn && (from != to || from != Unit::db); }

template <class T>
struct NormalOf {
  T floor, low, high, mean, gain;  // -inf and +inf where there is no floor or clip
};
using Normal = NormalOf<float>;

template <class T>
HFD_HD T normalise(T value, const NormalOf<T>& normal) {
  const T above = Of<T>::higher(normal.low, Of<T>::higher(normal.floor, value));
  const T inside = Of<T>::lower(normal.high, above);
  return (inside - normal.mean) * normal.gain;
}

}  // namespace hfd
