// Which bin a number of a scene pass goes to, for both compilers. Twin: tests/reference_speckle.py.
#pragma once

#include "common/host_device.h"
#include "ops/scene_counts.h"
#include "ops/speckle_pixel.h"

namespace hfd {

HFD_HD bool allows(const PixelMask& mask, int64_t pixel) { return mask.data == nullptr || mask.data[pixel] != mask.missing; }

HFD_HD bool counts_as_power(float value) { return value >= -kLargestIntensity && value <= kLargestIntensity; }

// Of a positive number.
HFD_HD int64_t power_bin(float value) { return bits_of(value) >> 16; }

// Of a number in [low, high), with `scale` bins to a unit.
HFD_HD int64_t bin_between(float value, float low, float scale, int64_t bins) {
  const int64_t bin = static_cast<int64_t>((value - low) * scale);
  return bin < bins ? bin : bins - 1;
}

}  // namespace hfd
