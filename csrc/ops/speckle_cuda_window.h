// What a thread of speckle_cuda.cu sees of shared memory. Included there alone.
#pragma once

#include "common/launch.h"
#include "ops/speckle_window.h"

namespace hfd {
namespace {

// In shared memory a pixel that is not valid is no number.
HFD_DEVICE bool is_number(float value) { return value == value; }
HFD_DEVICE float or_zero(float value) { return is_number(value) ? value : 0.0f; }

struct alignas(16) Four {
  float x[4];
};

// A pixel's surroundings in shared memory: values `pitch` apart, and sums along the rows (of three, where the filter sees pixels)
// `sum_pitch` apart.
template <class Count>
struct SharedWindow {
  const float* values;
  const Count* counts;
  const float *sums, *squares;
  int pitch, sum_pitch;
  HFD_DEVICE float value(int row, int col) const { return or_zero(values[row * pitch + col]); }
  HFD_DEVICE float valid(int row, int col) const { return is_number(values[row * pitch + col]) ? 1.0f : 0.0f; }
  HFD_DEVICE RowSums<float> three(int row, int col) const {
    const int at = row * sum_pitch + col;
    return {static_cast<float>(counts[at]), sums[at], squares[at]};
  }
};

// The parts of a SpecklePlan that the formulas read.
struct SmallTap {
  int8_t row, col;
};
struct FrostPlan {
  int64_t halo;
  float damping;
  int64_t ring_count;
  const SpeckleRing* rings;
  const SmallTap* taps;
};
struct RangePlan {
  int64_t halo, radius;
  float looks, low, high, noise2;
};

}  // namespace
}  // namespace hfd
