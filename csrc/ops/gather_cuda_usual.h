// Decibels of four pixels that are all of the usual kind, in the fewest instructions. Included by gather_cuda.cu alone.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "common/log_cuda.h"
#include "ops/gather_cuda_load.h"

namespace hfd {
namespace {

struct Four { float x[kPixels]; };

// The same for all bands. Every number is multiplied and added to: by 1 and -0 where there is no calibration, which changes none.
struct Calibration {
  float missing, scale, offset, floor;
  float least;  // power from which on usual_decibels() may be taken
};

Calibration calibration(const GatherConfig& config, Element element, const std::vector<double>& nodata, const std::vector<Normal>& normal) {
  constexpr float kSmallestNormal = 1.17549435e-38f;
  const bool wide = element == Element::u32 || element == Element::i32 || element == Element::f64 || config.unit == Unit::complex;
  const float missing = wide || nodata.empty() ? std::nanf("") : static_cast<float>(nodata[0]);
  return {missing, config.scale, config.scale == 1.0f && config.offset == 0.0f ? -0.0f : config.offset + 0.0f, config.floor + 0.0f,
          decibels_stay_finite(normal) ? kSmallestNormal : std::numeric_limits<float>::infinity()};
}

// What converted() makes of four pixels, and true, if all have normal power, none is the nodata value, and so none has a mark.
template <Unit From, Unit To>
HFD_DEVICE bool usual_decibels(const Calibration& by, const Normal& normal, const Numbers& numbers, Four& four) {
  if (To != Unit::db || From == Unit::db) return false;
  constexpr float kLargest = 3.40282347e+38f;
  float power[kPixels];
  bool usual = true;
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) {
    const float imaginary = From == Unit::complex ? numbers.imaginary[i] * by.scale : 0.0f;
    power[i] = power_of<From>(numbers.value[i] * by.scale + by.offset, imaginary);
    usual = usual && power[i] >= by.least && numbers.value[i] != by.missing;
  }
  if (!(usual && (power[0] + power[1]) + (power[2] + power[3]) <= kLargest)) return false;
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) {
    // As lower() and higher(): none of the three is no number or -0, and all other numbers are told apart alike.
    const float inside = fminf(normal.high, fmaxf(normal.low, kDbPerLog2 * log2_of_normal(power[i])));
    four.x[i] = (inside - normal.mean) * normal.gain;
  }
  return true;
}

}  // namespace
}  // namespace hfd
