// A block makes kTileRows x kTileCols pixels of one band in three steps: what it sees goes to shared memory, then the sums along its
// rows, then every thread adds those down the rows for four pixels of one column. The order of every sum is the CPU's.
#include "common/refuse.h"
#include "ops/speckle_cuda.h"
#include "ops/speckle_cuda_window.h"
#include "ops/speckle_plan.h"

namespace hfd {
namespace {

constexpr int kTileRows = 32, kTileCols = 32, kEach = 4;
constexpr int kMostTaps = kMostRows * kMostRows - 1, kMostRings = 40, kMostCudaBands = 32;

struct SmallTap {
  int8_t row, col;
};

HFD_HD constexpr int rounded(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

// kSees: how the filter looks at its window: by its sums, by Frost's rings too, or by its pixels.
enum class Sees { sums, rings, halves, range };

template <Sees kSees, int kRadius>
struct SpeckleBody {
  static constexpr int kHalo = kSees == Sees::range && kRadius < 2 ? 2 : kRadius;
  static constexpr int kSumRadius = kSees == Sees::halves || kSees == Sees::range ? 1 : kRadius;
  static constexpr int kThreads = 256, kPhases = 4, kBlocksPerProcessor = 2;
  static constexpr int kRows = kTileRows + 2 * kHalo, kCols = kTileCols + 2 * kHalo, kSumCols = kCols - 2 * kSumRadius;
  static constexpr int kGroups = rounded(kSumCols, kEach) / kEach;  // a thread sums for four columns along a row
  static constexpr int kSumPitch = kGroups * kEach, kPitch = rounded(kSumPitch + 2 * kSumRadius, kEach);
  static constexpr int kLoadRows = kThreads / kPitch;  // rows that the block loads at a time
  static_assert(kThreads == kTileCols * kTileRows / kEach, "a thread makes four pixels of one column");

  struct alignas(16) Shared {
    float value[kRows * kPitch];
    float sum[kRows * kSumPitch], square[kRows * kSumPitch], count[kRows * kSumPitch];
    uint32_t dirty;  // whether a pixel that the block sees is not valid
  };

  const float* values;
  const uint8_t* mask;
  float* out;
  int64_t rows, cols, first_row, made_rows;
  SpeckleFilter filter;
  bool nearest;
  float looks, damping, low, high, noise2;
  int32_t ring_count;
  SmallTap taps[kSees == Sees::rings ? kMostTaps : 1];
  SpeckleRing rings[kSees == Sees::rings ? kMostRings : 1];
  float bright[kMostCudaBands];

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0 && at.thread == 0) shared.dirty = 0;
    if (kPhase == 1) load(at, shared);
    if (kPhase == 2) sum_along(at, shared);
    if (kPhase == 3) make(at, shared);
  }

  // A thread keeps to one column and goes down, so that nothing is divided on the way.
  HFD_DEVICE void load(const ThreadPlace& at, Shared& shared) const {
    const int first = at.thread / kPitch, x = at.thread % kPitch;
    if (first >= kLoadRows) return;
    const int64_t top = first_row + static_cast<int64_t>(at.block_y) * kTileRows - kHalo;
    const int64_t left = static_cast<int64_t>(at.block_x) * kTileCols - kHalo;
    const float* band = values + static_cast<int64_t>(at.block_z) * rows * cols;
    const bool inside = top >= 0 && top + kRows <= rows && left >= 0 && left + kCols <= cols && mask == nullptr;
    bool dirty = false;
    const float* from = band + (top + first) * cols + left + x;
    HFD_UNROLL
    for (int y = first; y < kRows; y += kLoadRows, from += kLoadRows * cols) {
      float value = bits_as<float>(0x7fc00000u);
      if (x < kCols) value = inside ? *from : pixel_at(band, top + y, left + x);
      value = magnitude(value) <= kLargestIntensity ? value : bits_as<float>(0x7fc00000u);
      dirty = dirty || (x < kCols && !is_number(value));
      shared.value[y * kPitch + x] = value;
    }
    if (dirty) shared.dirty = 1;
  }

  // A pixel that may lie outside the image or be masked.
  HFD_DEVICE float pixel_at(const float* band, int64_t row, int64_t col) const {
    if (nearest) {
      row = row < 0 ? 0 : row < rows ? row : rows - 1;
      col = col < 0 ? 0 : col < cols ? col : cols - 1;
    }
    const bool there = row >= 0 && row < rows && col >= 0 && col < cols;
    return there && (mask == nullptr || mask[row * cols + col] != 0) ? band[row * cols + col] : bits_as<float>(0x7fc00000u);
  }

  // sum[x] = value[x] + ... + value[x + 2 R], and of the squares, from left to right.
  HFD_DEVICE void sum_along(const ThreadPlace& at, Shared& shared) const {
    constexpr int kNear = rounded(kEach + 2 * kSumRadius, kEach);
    const bool dirty = shared.dirty != 0;
    for (int i = at.thread; i < kRows * kGroups; i += kThreads) {
      const int row = i / kGroups, col = i % kGroups * kEach;
      float near[kNear];
      HFD_UNROLL
      for (int k = 0; k < kNear; k += kEach) {
        Four four;
        load_wide(shared.value + row * kPitch + col + k, four);
        HFD_UNROLL
        for (int j = 0; j < kEach; ++j) near[k + j] = four.x[j];
      }
      if (dirty || kSees == Sees::halves || kSees == Sees::range) count_along(near, shared.count + row * kSumPitch + col);
      sum_four(near, dirty, shared.sum + row * kSumPitch + col, shared.square + row * kSumPitch + col);
    }
  }

  HFD_DEVICE static void sum_four(float* near, bool dirty, float* to_sum, float* to_square) {
    Four sum, square;
    if (dirty)
      HFD_UNROLL
      for (int k = 0; k < kEach + 2 * kSumRadius; ++k) near[k] = or_zero(near[k]);
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      sum.x[k] = near[k];
      square.x[k] = near[k] * near[k];
      HFD_UNROLL
      for (int d = 1; d <= 2 * kSumRadius; ++d) {
        sum.x[k] += near[k + d];
        square.x[k] += near[k + d] * near[k + d];
      }
    }
    store_wide(sum, to_sum);
    store_wide(square, to_square);
  }

  HFD_DEVICE static void count_along(const float* near, float* to) {
    Four count;
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      count.x[k] = 0.0f;
      HFD_UNROLL
      for (int d = 0; d <= 2 * kSumRadius; ++d) count.x[k] += is_number(near[k + d]) ? 1.0f : 0.0f;
    }
    store_wide(count, to);
  }

  HFD_DEVICE void make(const ThreadPlace& at, Shared& shared) const {
    const int x = at.thread % kTileCols, y = at.thread / kTileCols * kEach;
    const int64_t col = static_cast<int64_t>(at.block_x) * kTileCols + x;
    const int64_t row = static_cast<int64_t>(at.block_y) * kTileRows + y;
    if (col >= cols) return;
    const bool clean = shared.dirty == 0;
    float made[kEach];
    if (kSees == Sees::sums || kSees == Sees::rings) {
      if (clean)
        make_by_sums<true>(x, y, shared, made);
      else
        make_by_sums<false>(x, y, shared, made);
    } else {
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) made[k] = by_pixels(window_at(x, y + k, shared), clean, bright[at.block_z]);
    }
    float* to = out + (static_cast<int64_t>(at.block_z) * made_rows + row) * cols + col;
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      if (row + k >= made_rows) return;
      const bool valid = clean || is_number(shared.value[(y + k + kHalo) * kPitch + x + kHalo]);
      to[k * cols] = valid ? made[k] : bits_as<float>(0x7fc00000u);
    }
  }

  HFD_DEVICE static SharedWindow window_at(int x, int y, const Shared& shared) {
    const int at = y * kPitch + x, sums = y * kSumPitch + x;
    return {shared.value + at, shared.count + sums, shared.sum + sums, shared.square + sums, kPitch, kSumPitch};
  }

  // Sums of kEach windows of one column, each from top to bottom.
  HFD_DEVICE static void sum_down(const float* column, float* totals) {
    float near[kEach + 2 * kSumRadius];
    HFD_UNROLL
    for (int k = 0; k < kEach + 2 * kSumRadius; ++k) near[k] = column[k * kSumPitch];
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      totals[k] = near[k];
      HFD_UNROLL
      for (int d = 1; d <= 2 * kSumRadius; ++d) totals[k] += near[k + d];
    }
  }

  // kClean: all windows are whole, and what depends on their counts folds to constants.
  template <bool kClean>
  HFD_DEVICE void make_by_sums(int x, int y, const Shared& shared, float* made) const {
    constexpr float kWhole = static_cast<float>((2 * kSumRadius + 1) * (2 * kSumRadius + 1));
    float sum[kEach], square[kEach], counted[kEach];
    sum_down(shared.sum + y * kSumPitch + x, sum);
    sum_down(shared.square + y * kSumPitch + x, square);
    if (!kClean) sum_down(shared.count + y * kSumPitch + x, counted);
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      const float count = kClean ? kWhole : counted[k];
      const WindowSums<float> sums{count, 1.0f / count, sum[k], spread_of(count, sum[k], square[k])};
      if (kSees == Sees::rings)
        made[k] = frost(window_at(x, y + k, shared), sums, kClean);
      else
        made[k] = value_of(sums, or_zero(shared.value[(y + k + kHalo) * kPitch + x + kHalo]), kWhole);
    }
  }

  HFD_DEVICE float value_of(const WindowSums<float>& sums, float centre, float whole) const {
    switch (filter) {
      case SpeckleFilter::lee: return lee_value(sums, centre, 1.0f / looks);
      case SpeckleFilter::kuan: return kuan_value(sums, centre, 1.0f / looks);
      case SpeckleFilter::enhanced_lee: return enhanced_lee_value(sums, centre, looks);
      case SpeckleFilter::gamma_map: return gamma_map_value(sums, centre, looks);
      case SpeckleFilter::local_enl: return local_enl_value(sums, whole);
      default: return mean_of(sums);
    }
  }

  HFD_DEVICE float frost(const SharedWindow& window, const WindowSums<float>& sums, bool clean) const {
    FrostPlan plan{kHalo, damping, ring_count, rings, taps};
    return frost_value(window, plan, sums, clean);
  }

  HFD_DEVICE float by_pixels(const SharedWindow& window, bool clean, float bright_here) const {
    if (kSees == Sees::halves) return refined_lee_value<float>(window, looks);
    const RangePlan plan{kHalo, kRadius, looks, low, high, noise2};
    return lee_sigma_value<float>(window, plan, bright_here, clean);
  }

  // The parts of a SpecklePlan that the formulas read.
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
};

template <Sees kSees, int kRadius>
void filter(const SpecklePlan& plan, const SpeckleCall& call, const CudaQueue& queue) {
  SpeckleBody<kSees, kRadius> body{};
  body.values = call.values;
  body.mask = call.mask;
  body.out = call.out;
  body.rows = call.size.rows;
  body.cols = call.size.cols;
  body.first_row = call.first_row;
  body.made_rows = call.rows;
  body.filter = plan.filter;
  body.nearest = plan.border == SpeckleBorder::nearest;
  body.looks = plan.looks;
  body.damping = plan.damping;
  body.low = plan.low;
  body.high = plan.high;
  body.noise2 = plan.noise2;
  if (kSees == Sees::rings) {
    if (plan.ring_count > kMostRings) refuse("a window with ", plan.ring_count, " rings: a GPU's Frost takes ", kMostRings);
    body.ring_count = static_cast<int32_t>(plan.ring_count);
    for (int64_t r = 0; r < plan.ring_count; ++r) {
      body.rings[r] = plan.rings[r];
      for (int32_t t = plan.rings[r].begin; t < plan.rings[r].end; ++t)
        body.taps[t] = {static_cast<int8_t>(plan.taps[t].row), static_cast<int8_t>(plan.taps[t].col)};
    }
  }
  for (size_t b = 0; b < call.bright.size(); ++b) body.bright[b] = call.bright[b];
  launch(body, {pieces_of(call.size.cols, kTileCols), pieces_of(call.rows, kTileRows), call.bands}, queue, "speckle filter");
}

template <Sees kSees>
void filter_with(const SpecklePlan& plan, const SpeckleCall& call, const CudaQueue& queue) {
  switch (plan.radius) {
    case 1: return filter<kSees, 1>(plan, call, queue);
    case 2: return filter<kSees, 2>(plan, call, queue);
    case 3: return filter<kSees, 3>(plan, call, queue);
    case 4: return filter<kSees, 4>(plan, call, queue);
    case 5: return filter<kSees, 5>(plan, call, queue);
    case 6: return filter<kSees, 6>(plan, call, queue);
    default: return filter<kSees, 7>(plan, call, queue);
  }
}

}  // namespace

void speckle_cuda(const SpeckleConfig& config, const SpeckleCall& call, const CudaQueue& queue) {
  if (call.bands > kMostCudaBands)
    refuse(call.bands, " bands: a GPU's speckle filter takes at most ", kMostCudaBands, "; filter them in parts");
  const SpeckleRings rings(config.radius);
  const SpecklePlan plan = speckle_plan(config, rings);
  if (config.filter == SpeckleFilter::refined_lee) return filter<Sees::halves, 3>(plan, call, queue);
  if (config.filter == SpeckleFilter::lee_sigma) return filter_with<Sees::range>(plan, call, queue);
  if (config.filter == SpeckleFilter::frost) return filter_with<Sees::rings>(plan, call, queue);
  filter_with<Sees::sums>(plan, call, queue);
}

}  // namespace hfd
