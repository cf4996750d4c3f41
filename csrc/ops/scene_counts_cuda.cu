// A thread counts kEach numbers, a block's width apart, and asks for all before it looks at one. Histograms are added to in device
// memory: their hot bins are spread by the speckle over hundreds of addresses.
#include "common/launch.h"
#include "ops/scene_counts_cuda.h"
#include "ops/scene_counts_pixel.h"

namespace hfd {
namespace {

constexpr int kEach = 8;
using Count = unsigned long long;

struct CountShared {
  uint32_t valid, dark;
};

struct PowerBody {
  static constexpr int kThreads = 256, kPhases = 3, kBlocksPerProcessor = 4;
  using Shared = CountShared;

  const float* values;
  PixelMask mask;
  int64_t count;
  Count *histogram, *totals;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0) {
      if (at.thread == 0) shared = {0, 0};
    } else if (kPhase == 1) {
      add(at, shared);
    } else if (at.thread == 0) {
      add_atomically(totals, static_cast<Count>(shared.valid));
      add_atomically(totals + 1, static_cast<Count>(shared.dark));
    }
  }

  HFD_DEVICE void add(const ThreadPlace& at, Shared& shared) const {
    uint32_t valid = 0, dark = 0;
    const int64_t first = static_cast<int64_t>(at.block_x) * kThreads * kEach + at.thread;
    float value[kEach];
    bool counts[kEach];
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {  // behind the last number: the first one again, which does not count
      const int64_t i = first + k * kThreads, at = i < count ? i : 0;
      value[k] = values[at];
      counts[k] = allows(mask, at) & (i < count);
    }
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      if (!counts[k] || !counts_as_power(value[k])) continue;
      ++valid;
      if (value[k] > 0.0f)
        add_atomically(histogram + power_bin(value[k]), Count{1});
      else
        ++dark;
    }
    if (valid != 0) add_atomically(&shared.valid, valid);
    if (dark != 0) add_atomically(&shared.dark, dark);
  }
};

struct BetweenBody {
  static constexpr int kThreads = 256, kPhases = 1, kBlocksPerProcessor = 4;
  using Shared = NoShared;

  const float* values;
  int64_t count, bins;
  float low, high, scale;
  Count* counts;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared&) const {
    const int64_t first = static_cast<int64_t>(at.block_x) * kThreads * kEach + at.thread;
    float value[kEach];
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) value[k] = values[first + k * kThreads < count ? first + k * kThreads : 0];
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k)
      if (first + k * kThreads < count && value[k] >= low && value[k] < high) add_atomically(counts + bin_between(value[k], low, scale, bins), Count{1});
  }
};

}  // namespace

void count_power_cuda(const float* values, const PixelMask& mask, int64_t count, int64_t* histogram, int64_t* totals,
                      const CudaQueue& queue) {
  const PowerBody body{values, mask, count, reinterpret_cast<Count*>(histogram), reinterpret_cast<Count*>(totals)};
  launch(body, {pieces_of(count, PowerBody::kThreads * kEach)}, queue, "counting power");
}

void count_between_cuda(const float* values, int64_t count, float low, float high, int64_t* counts, int64_t bins,
                        const CudaQueue& queue) {
  const float scale = static_cast<float>(bins) / (high - low);
  const BetweenBody body{values, count, bins, low, high, scale, reinterpret_cast<Count*>(counts)};
  launch(body, {pieces_of(count, BetweenBody::kThreads * kEach)}, queue, "counting");
}

}  // namespace hfd
