// Counts of a scene pass. Whole numbers, added: the same for any order, tiling and thread count.
#pragma once

#include <cstdint>

namespace hfd {

// A bin per 128th of every octave of float32, split evenly in value: the upper 16 bits of a positive number.
constexpr int64_t kPowerBins = 0x7f80;

// A byte a pixel; one that is `missing` says that its pixel does not count: 0 of a mask, kNodata of gather's status.
struct PixelMask {
  const uint8_t* data = nullptr;  // null: all count
  uint8_t missing = 0;
};

// Adds `count` pixels: positive ones to histogram[kPowerBins], all valid ones to totals[0], those of 0 and below to totals[1].
// Valid is what the mask allows and is a number of at most 1e16.
void count_power_cpu(const float* values, const PixelMask& mask, int64_t count, int64_t* histogram, int64_t* totals);

// Adds the numbers in [low, high) to bins of equal width.
void count_between_cpu(const float* values, int64_t count, float low, float high, int64_t* counts, int64_t bins);

}  // namespace hfd
