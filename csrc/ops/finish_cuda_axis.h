// Between which logits the pixels of a thread of finish_cuda.cu lie. Included there alone.
#pragma once

#include "common/launch.h"
#include "ops/finish_pixel.h"

namespace hfd {
namespace {

constexpr int kCols = 4, kMostLogits = 4;

HFD_HD constexpr int32_t floor_div(int32_t a, int32_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Where kPixels pixels of one axis lie: pixel i between its logit first + low[i] and the next one. `alone` has a bit for each that is
// that logit itself; logits outside are their nearest one inside, so the ends are such pixels.
template <int kPixels>
struct Axis {
  int32_t first;
  int32_t low[kPixels];
  float fraction[kPixels];
  uint32_t alone;
};

// Of the pixels from x on, a multiple of kPixels. kStride = 0: as `stride` says; else it is 1, 2, 4 or 8, and 8 stands for its
// multiples. What depends on the stride alone is written so that it folds to constants.
template <int kPixels, int kStride>
HFD_DEVICE Axis<kPixels> axis_at(int32_t x, int32_t stride, int32_t count) {
  constexpr int32_t kTwice = kStride == 0 ? 2 : 2 * kStride;
  const int32_t twice = 2 * stride;
  Axis<kPixels> axis{};
  axis.first = floor_div(2 * x + 1 - stride, twice);
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) {
    const int32_t numerator = 2 * (x + i) + 1 - stride;
    int32_t low = axis.first, rest = numerator - low * twice;
    if (kStride == 0 && rest >= twice) {
      low = floor_div(numerator, twice);
      rest = numerator - low * twice;
    }
    if (kStride >= 1 && kStride <= kPixels) {
      const int32_t step = floor_div(2 * i + 1 - kStride, kTwice) - floor_div(1 - kStride, kTwice);
      low = axis.first + step;
      rest = 2 * i + 1 - kStride - floor_div(2 * i + 1 - kStride, kTwice) * kTwice;
    }
    axis.low[i] = low - axis.first;
    axis.fraction[i] = static_cast<float>(rest) / static_cast<float>(kStride >= 1 && kStride <= kPixels ? kTwice : twice);
    const bool lerps = numerator > 0 && low < count - 1 && rest > 0;
    axis.alone |= (lerps ? 0u : 1u) << i;
  }
  return axis;
}

// How many logits the pixels of an axis touch.
template <int kPixels, int kStride>
constexpr int logits_of() {
  if (kStride == 0) return kPixels == 1 ? 2 : kMostLogits;
  if (kStride == 1) return kPixels;
  return kStride > kPixels ? 2 : kPixels / (kStride > 0 ? kStride : 1) + 2;
}

template <int kCount>
HFD_DEVICE float pick(const float (&values)[kCount], int32_t index) {
  float value = values[0];
  HFD_UNROLL
  for (int k = 1; k < kCount; ++k) value = index == k ? values[k] : value;
  return value;
}

}  // namespace
}  // namespace hfd
