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
  T low, high, mean, gain;  // low: the higher of floor and clip; -inf and +inf where there is neither
};
using Normal = NormalOf<float>;

template <class T>
HFD_HD T normalise(T value, const NormalOf<T>& normal) {
  const T inside = Of<T>::lower(normal.high, Of<T>::higher(normal.low, value));
  return (inside - normal.mean) * normal.gain;
}

// Everything a conversion needs beside the pixels, once per vector of them or once per number.
template <class T>
struct ConversionOf {
  T missing, scale, offset, floor;  // missing: the value that is nodata, NaN = none
  NormalOf<T> normal;
};

// Linear power of a stored number.
template <Unit From, class T>
HFD_HD T calibrated_power(const ConversionOf<T>& by, bool calibrates, T x, T imaginary) {
  if (calibrates) x = x * by.scale + by.offset;
  if (calibrates && From == Unit::complex) imaginary = imaginary * by.scale;
  return power_of<From>(x, imaginary);
}

// Nodata, calibration, unit, floor, clip and z-score of one number, or of a vector of them; adds to the Status bits. A value beyond
// float32 after all of them is nodata as well: the network never sees a number that is not finite. `imaginary` counts for complex
// alone, scale and offset only where `calibrates` is true.
template <Unit From, Unit To, class T>
HFD_HD T converted(const ConversionOf<T>& by, bool calibrates, T x, T imaginary, typename Of<T>::Unsigned& marks) {
  typename Of<T>::Unsigned gone = not_finite(x) | Of<T>::mask(x == by.missing);
  if (calibrates) x = x * by.scale + by.offset;
  if (knows_power(From, To)) {
    if (calibrates && From == Unit::complex) imaginary = imaginary * by.scale;
    const T power = power_of<From>(x, imaginary);
    marks |= Of<T>::mask(power <= 0.0f) & static_cast<uint32_t>(kNoSignal);
    if (From != To) x = from_power<To>(power, by.floor);
  }
  x = normalise(x, by.normal);
  gone |= not_finite(x);
  marks |= gone & static_cast<uint32_t>(kNodata);
  return x;
}

// What the finished plane says of a pixel.
HFD_HD uint32_t status_of(uint32_t marks) { return marks & kNodata ? static_cast<uint32_t>(kNodata) : marks; }

}  // namespace hfd
