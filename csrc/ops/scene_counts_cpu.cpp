// Counting, one number after the other: a histogram's next address depends on the number, so there is nothing for a vector.
#include "ops/scene_counts.h"

#include "common/float_env.h"
#include "common/host_device.h"
#include "ops/speckle_pixel.h"

namespace hfd {

void count_power_cpu(const float* values, const uint8_t* mask, int64_t count, int64_t* histogram, int64_t* totals) {
  int64_t valid = 0, dark = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float value = values[i];
    if (mask != nullptr && mask[i] == 0) continue;
    if (!(value >= -kLargestIntensity && value <= kLargestIntensity)) continue;
    ++valid;
    if (value > 0.0f)
      ++histogram[bits_of(value) >> 16];
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
    const int64_t bin = static_cast<int64_t>((value - low) * scale);
    ++counts[bin < bins ? bin : bins - 1];
  }
}

}  // namespace hfd
