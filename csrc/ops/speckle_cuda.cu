// A block makes kTileRows x kTileCols pixels of one band in three steps: what it sees goes to shared memory, then the sums along its
// rows, then every thread adds those down the rows for four pixels of one column. The order of every sum is the CPU's.
#include "common/launch.h"
#include "common/refuse.h"
#include "ops/speckle_cuda.h"
#include "ops/speckle_plan.h"
#include "ops/speckle_window.h"

namespace hfd {
namespace {

constexpr int kTileRows = 32, kTileCols = 32, kEach = 4;
constexpr int kMostTaps = kMostRows * kMostRows - 1, kMostRings = 40, kMostCudaBands = 32;

struct SmallTap {
  int8_t row, col;
};

// A pixel's surroundings in shared memory: value and validity `pitch` apart, and sums of three along the rows `sum_pitch` apart.
struct SharedWindow {
  const float *values, *valids;
  const float *counts, *sums, *squares;
  int pitch, sum_pitch;
  HFD_DEVICE float value(int row, int col) const { return values[row * pitch + col]; }
  HFD_DEVICE float valid(int row, int col) const { return valids[row * pitch + col]; }
  HFD_DEVICE RowSums<float> three(int row, int col) const {
    const int at = row * sum_pitch + col;
    return {counts[at], sums[at], squares[at]};
  }
};

constexpr int rounded(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

// kSees: how the filter looks at its window: by its sums, by Frost's rings too, or by its pixels.
enum class Sees { sums, rings, halves, range };

template <Sees kSees, int kRadius>
struct SpeckleBody {
  static constexpr int kHalo = kSees == Sees::range && kRadius < 2 ? 2 : kRadius;
  static constexpr int kSumRadius = kSees == Sees::halves || kSees == Sees::range ? 1 : kRadius;
  static constexpr int kThreads = 256, kPhases = 4, kBlocksPerProcessor = 2;
  static constexpr int kRows = kTileRows + 2 * kHalo, kCols = kTileCols + 2 * kHalo, kSumCols = kCols - 2 * kSumRadius;
  static constexpr int kGroups = rounded(kSumCols, kEach) / kEach;  // a thread sums for four columns along a row
  static constexpr int kSumPitch = kGroups * kEach, kPitch = kSumPitch + 2 * kSumRadius;
  static_assert(kThreads == kTileCols * kTileRows / kEach, "a thread makes four pixels of one column");

  struct Shared {
    float value[kRows * kPitch], valid[kRows * kPitch];
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

  HFD_DEVICE void load(const ThreadPlace& at, Shared& shared) const {
    const float* band = values + static_cast<int64_t>(at.block_z) * rows * cols;
    const int64_t top = first_row + static_cast<int64_t>(at.block_y) * kTileRows - kHalo;
    const int64_t left = static_cast<int64_t>(at.block_x) * kTileCols - kHalo;
    bool dirty = false;
    HFD_UNROLL
    for (int i = at.thread; i < kRows * kPitch; i += kThreads) {
      int64_t row = top + i / kPitch, col = left + i % kPitch;
      bool valid = i % kPitch < kCols;  // columns that round a row up are not
      const bool seen = valid;
      if (nearest) {
        row = row < 0 ? 0 : row < rows ? row : rows - 1;
        col = col < 0 ? 0 : col < cols ? col : cols - 1;
      }
      valid = valid && row >= 0 && row < rows && col >= 0 && col < cols;
      float value = 0.0f;
      if (valid) {
        const int64_t pixel = row * cols + col;
        value = band[pixel];
        valid = value >= -kLargestIntensity && value <= kLargestIntensity && (mask == nullptr || mask[pixel] != 0);
        value = valid ? value : 0.0f;
      }
      dirty = dirty || (seen && !valid);
      shared.value[i] = value;
      shared.valid[i] = valid ? 1.0f : 0.0f;
    }
    if (dirty) shared.dirty = 1;
  }

  // sum[x] = value[x] + ... + value[x + 2 R], and of the squares, from left to right.
  HFD_DEVICE void sum_along(const ThreadPlace& at, Shared& shared) const {
    for (int i = at.thread; i < kRows * kGroups; i += kThreads) {
      const int row = i / kGroups, col = i % kGroups * kEach;
      float near[kEach + 2 * kSumRadius], sum[kEach], square[kEach];
      HFD_UNROLL
      for (int k = 0; k < kEach + 2 * kSumRadius; ++k) near[k] = shared.value[row * kPitch + col + k];
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) {
        sum[k] = near[k];
        square[k] = near[k] * near[k];
        HFD_UNROLL
        for (int d = 1; d <= 2 * kSumRadius; ++d) {
          sum[k] += near[k + d];
          square[k] += near[k + d] * near[k + d];
        }
        shared.sum[row * kSumPitch + col + k] = sum[k];
        shared.square[row * kSumPitch + col + k] = square[k];
      }
      if (shared.dirty != 0 || kSees == Sees::halves || kSees == Sees::range) count_along(row, col, shared);
    }
  }

  HFD_DEVICE static void count_along(int row, int col, Shared& shared) {
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      float count = shared.valid[row * kPitch + col + k];
      HFD_UNROLL
      for (int d = 1; d <= 2 * kSumRadius; ++d) count += shared.valid[row * kPitch + col + k + d];
      shared.count[row * kSumPitch + col + k] = count;
    }
  }

  HFD_DEVICE void make(const ThreadPlace& at, Shared& shared) const {
    const int x = at.thread % kTileCols, y = at.thread / kTileCols * kEach;
    const int64_t col = static_cast<int64_t>(at.block_x) * kTileCols + x;
    const int64_t row = static_cast<int64_t>(at.block_y) * kTileRows + y;
    if (col >= cols) return;
    const bool clean = shared.dirty == 0;
    float made[kEach];
    if (kSees == Sees::sums || kSees == Sees::rings) {
      make_by_sums(x, y, clean, shared, made);
    } else {
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) made[k] = by_pixels(window_at(x, y + k, shared), clean, bright[at.block_z]);
    }
    float* to = out + (static_cast<int64_t>(at.block_z) * made_rows + row) * cols + col;
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      if (row + k >= made_rows) return;
      const bool valid = shared.valid[(y + k + kHalo) * kPitch + x + kHalo] > 0.0f;
      to[k * cols] = valid ? made[k] : bits_as<float>(0x7fc00000u);
    }
  }

  HFD_DEVICE static SharedWindow window_at(int x, int y, const Shared& shared) {
    const int at = y * kPitch + x, sums = y * kSumPitch + x;
    return {shared.value + at, shared.valid + at, shared.count + sums, shared.sum + sums, shared.square + sums, kPitch, kSumPitch};
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

  HFD_DEVICE void make_by_sums(int x, int y, bool clean, const Shared& shared, float* made) const {
    constexpr float kWhole = static_cast<float>((2 * kSumRadius + 1) * (2 * kSumRadius + 1));
    float sum[kEach], square[kEach], count[kEach] = {kWhole, kWhole, kWhole, kWhole};
    sum_down(shared.sum + y * kSumPitch + x, sum);
    sum_down(shared.square + y * kSumPitch + x, square);
    if (!clean) sum_down(shared.count + y * kSumPitch + x, count);
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      const WindowSums<float> sums{count[k], 1.0f / count[k], sum[k], spread_of(count[k], sum[k], square[k])};
      if (kSees == Sees::rings)
        made[k] = frost(window_at(x, y + k, shared), sums, clean);
      else
        made[k] = value_of(sums, shared.value[(y + k + kHalo) * kPitch + x + kHalo], kWhole);
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
