// Counts of a scene pass. Whole numbers, added: the same for any order, tiling and thread count.
#pragma once

#include <cstdint>

namespace hfd {

// A bin per 128th of every octave of float32, split evenly in value: the upper 16 bits of a positive number.
constexpr int64_t kPowerBins = 0x7f80;

// Adds `count` pixels: positive ones to histogram[kPowerBins], all valid ones to totals[0], those of 0 and below to totals[1].
// Valid is what the mask allows (null: all) and is a number of at most 1e16.
void count_power_cpu(const float* values, const uint8_t* mask, int64_t count, int64_t* histogram, int64_t* totals);

// Adds the numbers in [low, high) to bins of equal width.
void count_between_cpu(const float* values, int64_t count, float low, float high, int64_t* counts, int64_t bins);

}  // namespace hfd
