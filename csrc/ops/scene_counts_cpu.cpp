// Counting, one number after the other: a histogram's next address depends on the number, so there is nothing for a vector.
#include "ops/scene_counts_pixel.h"

#include "common/float_env.h"

namespace hfd {

void count_power_cpu(const float* values, const PixelMask& mask, int64_t count, int64_t* histogram, int64_t* totals) {
  int64_t valid = 0, dark = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float value = values[i];
    if (!allows(mask, i) || !counts_as_power(value)) continue;
    ++valid;
    if (value > 0.0f)
      ++histogram[power_bin(value)];
    else
      ++dark;
  }
  totals[0] += valid;
  totals[1] += dark;
}

void count_between_cpu(const float* values, int64_t count, float low, float high, int64_t* counts, int64_t bins) {
  const FloatEnvironment environment;
  const float scale = static_cast<float>(bins) / (high - low);
  for (int64_t i = 0; i < count; ++i) {
    const float value = values[i];
    if (!(value >= low && value < high)) continue;
    ++counts[bin_between(value, low, scale, bins)];
  }
}

}  // namespace hfd
