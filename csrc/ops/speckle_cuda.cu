// A block makes kTileRows x kTileCols pixels of one band in three steps: what it sees goes to shared memory, then the sums along its
// rows, then every thread adds those down the rows for some pixels of one column. The order of every sum is the CPU's.
#include <type_traits>

#include "common/refuse.h"
#include "ops/speckle_cuda.h"
#include "ops/speckle_cuda_load.h"
#include "ops/speckle_cuda_window.h"
#include "ops/speckle_plan.h"

namespace hfd {
namespace {

constexpr int kTileCols = 32, kEach = 4;
constexpr int kMostTaps = kMostRows * kMostRows - 1, kMostRings = 40, kMostCudaBands = 32;
constexpr int32_t kMostSide = 1 << 30;

HFD_HD constexpr int rounded(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

// kSees: how the filter looks at its window: by its sums, by Frost's rings too, or by its pixels.
enum class Sees { sums, rings, halves, range };

template <Sees kSees, int kRadius>
struct SpeckleBody {
  static constexpr bool kBySums = kSees == Sees::sums || kSees == Sees::rings;
  static constexpr int kHalo = kSees == Sees::range && kRadius < 2 ? 2 : kRadius, kSumRadius = kBySums ? kRadius : 1;
  static constexpr int kThreads = kSees == Sees::sums ? 128 : 256, kPhases = 4, kBlocksPerProcessor = kSees == Sees::sums ? 8 : 2;
  static constexpr int kDown = kSees == Sees::sums ? 16 : 4, kAtOnce = 8;  // pixels of one column that a thread makes
  static constexpr int kTileRows = kThreads / kTileCols * kDown;
  static constexpr int kRows = kTileRows + 2 * kHalo, kCols = kTileCols + 2 * kHalo, kSumCols = kCols - 2 * kSumRadius;
  static constexpr int kGroups = rounded(kSumCols, kEach) / kEach;  // a thread sums for four columns along a row
  static constexpr int kSumPitch = kGroups * kEach, kPitch = rounded(kSumPitch + 2 * kSumRadius, kEach);
  static constexpr int kSumRows = kThreads / kGroups;  // rows that the block sums along at a time

  using Count = std::conditional_t<kBySums, uint8_t, float>;  // whole numbers, read often or seldom
  struct alignas(16) Shared {
    float value[kRows * kPitch];
    float sum[kRows * kSumPitch], square[kRows * kSumPitch];
    Count count[kRows * kSumPitch];
    uint32_t dirty;  // threads that found a pixel that is not valid
  };

  SpeckleImage image;
  float* out;
  int32_t first_row, made_rows;
  SpeckleFilter filter;
  float looks, cu2, damping, low, high, noise2;
  int32_t ring_count;
  SmallTap taps[kSees == Sees::rings ? kMostTaps : 1];
  SpeckleRing rings[kSees == Sees::rings ? kMostRings : 1];
  float bright[kMostCudaBands];

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0 && at.thread == 0) shared.dirty = 0;
    if (kPhase == 1) {
      const int32_t row = first_row + static_cast<int32_t>(at.block_y) * kTileRows - kHalo, col = static_cast<int32_t>(at.block_x) * kTileCols - kHalo;
      if (!TileLoad<kThreads, kRows, kCols, kPitch>::load(image, at, row, col, shared.value)) add_atomically(&shared.dirty, 1u);
    }
    if (kPhase == 2) sum_along(at, shared);
    if (kPhase == 3) make(at, shared);
  }

  // sum[x] = value[x] + ... + value[x + 2 R], and of the squares, from left to right.
  HFD_DEVICE void sum_along(const ThreadPlace& at, Shared& shared) const {
    constexpr int kNear = rounded(kEach + 2 * kSumRadius, kEach);
    const bool dirty = shared.dirty != 0, squares = dirty || kSees != Sees::sums || filter != SpeckleFilter::boxcar;
    const int first = at.thread / kGroups, col = at.thread % kGroups * kEach;
    if (first >= kSumRows) return;
    HFD_ROLLED
    for (int row = first; row < kRows; row += kSumRows) {
      float near[kNear];
      HFD_UNROLL
      for (int k = 0; k < kNear; k += kEach) {
        Four four;
        load_wide(shared.value + row * kPitch + col + k, four);
        HFD_UNROLL
        for (int j = 0; j < kEach; ++j) near[k + j] = four.x[j];
      }
      const int to = row * kSumPitch + col;
      if (dirty || !kBySums) count_along(near, shared.count + to);
      if (dirty)
        HFD_UNROLL
        for (int k = 0; k < kNear; ++k) near[k] = or_zero(near[k]);
      sum_four(near, shared.sum + to);
      if (!squares) continue;
      HFD_UNROLL
      for (int k = 0; k < kNear; ++k) near[k] *= near[k];
      sum_four(near, shared.square + to);
    }
  }

  HFD_DEVICE static void sum_four(const float* near, float* to) {
    Four sum;
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      sum.x[k] = near[k];
      HFD_UNROLL
      for (int d = 1; d <= 2 * kSumRadius; ++d) sum.x[k] += near[k + d];
    }
    store_wide(sum, to);
  }

  HFD_DEVICE static void count_along(const float* near, Count* to) {
    struct alignas(kEach * sizeof(Count)) {
      Count x[kEach];
    } count;
    HFD_UNROLL
    for (int k = 0; k < kEach; ++k) {
      count.x[k] = 0;
      HFD_UNROLL
      for (int d = 0; d <= 2 * kSumRadius; ++d) count.x[k] += is_number(near[k + d]) ? 1 : 0;
    }
    store_wide(count, to);
  }

  // What a thread makes: `count` pixels of a column, from row y and column x of the tile on.
  struct Column {
    int x, y, count;
    uint32_t band;
    float* to;
  };

  HFD_DEVICE void make(const ThreadPlace& at, const Shared& shared) const {
    Column made{};
    made.x = at.thread % kTileCols;
    made.y = at.thread / kTileCols * kDown;
    made.band = at.block_z;
    const int32_t col = static_cast<int32_t>(at.block_x) * kTileCols + made.x;
    const int32_t row = static_cast<int32_t>(at.block_y) * kTileRows + made.y, below = made_rows - row;
    if (col >= image.cols || below <= 0) return;
    made.count = below < kDown ? below : kDown;
    made.to = out + (static_cast<int64_t>(at.block_z) * made_rows + row) * image.cols + col;
    const bool clean = shared.dirty == 0;
    if (kSees == Sees::sums && clean) return make_whole(made, shared);
    HFD_ROLLED
    for (int k = 0; k < made.count; ++k) {
      const bool valid = clean || is_number(shared.value[(made.y + k + kHalo) * kPitch + made.x + kHalo]);
      made.to[static_cast<int64_t>(image.cols) * k] = valid ? pixel_of(made, k, clean, shared) : bits_as<float>(0x7fc00000u);
    }
  }

  // Where all windows are whole, what depends on their counts folds to constants, and a filter has its own loop.
  HFD_DEVICE void make_whole(const Column& made, const Shared& shared) const {
    switch (filter) {
      case SpeckleFilter::lee: return make_whole<SpeckleFilter::lee>(made, shared);
      case SpeckleFilter::kuan: return make_whole<SpeckleFilter::kuan>(made, shared);
      case SpeckleFilter::enhanced_lee: return make_whole<SpeckleFilter::enhanced_lee>(made, shared);
      case SpeckleFilter::gamma_map: return make_whole<SpeckleFilter::gamma_map>(made, shared);
      case SpeckleFilter::local_enl: return make_whole<SpeckleFilter::local_enl>(made, shared);
      default: return make_whole<SpeckleFilter::boxcar>(made, shared);
    }
  }

  template <SpeckleFilter kFilter>
  HFD_DEVICE void make_whole(const Column& made, const Shared& shared) const {
    float* to = made.to;
    int y = made.y;
    HFD_ROLLED
    for (int left = made.count; left > 0; left -= kAtOnce, y += kAtOnce, to += static_cast<int64_t>(image.cols) * kAtOnce) {
      float sum[kAtOnce], square[kAtOnce] = {}, value[kAtOnce];
      sum_down(shared.sum + y * kSumPitch + made.x, sum);
      if (kFilter != SpeckleFilter::boxcar) sum_down(shared.square + y * kSumPitch + made.x, square);
      HFD_UNROLL
      for (int k = 0; k < kAtOnce; ++k) {
        const WindowSums<float> sums{kWhole, 1.0f / kWhole, sum[k], spread_of(kWhole, sum[k], square[k])};
        value[k] = value_of(kFilter, sums, shared.value[(y + k + kHalo) * kPitch + made.x + kHalo]);
      }
      HFD_UNROLL
      for (int k = 0; k < kAtOnce; ++k)
        if (k < left) to[static_cast<int64_t>(image.cols) * k] = value[k];
    }
  }

  HFD_DEVICE static SharedWindow<Count> window_at(int x, int y, const Shared& shared) {
    const int at = y * kPitch + x, sums = y * kSumPitch + x;
    return {shared.value + at, shared.count + sums, shared.sum + sums, shared.square + sums, kPitch, kSumPitch};
  }

  // Sums of kAtOnce windows of one column, each from top to bottom.
  HFD_DEVICE static void sum_down(const float* column, float* totals) {
    float near[kAtOnce + 2 * kSumRadius];
    HFD_UNROLL
    for (int k = 0; k < kAtOnce + 2 * kSumRadius; ++k) near[k] = column[k * kSumPitch];
    HFD_UNROLL
    for (int k = 0; k < kAtOnce; ++k) {
      totals[k] = near[k];
      HFD_UNROLL
      for (int d = 1; d <= 2 * kSumRadius; ++d) totals[k] += near[k + d];
    }
  }

  static constexpr float kWhole = static_cast<float>((2 * kSumRadius + 1) * (2 * kSumRadius + 1));

  // One pixel of any filter and any window.
  HFD_DEVICE float pixel_of(const Column& made, int k, bool clean, const Shared& shared) const {
    const SharedWindow<Count> window = window_at(made.x, made.y + k, shared);
    if (kSees == Sees::halves) return refined_lee_value<float>(window, looks);
    if (kSees == Sees::range) return lee_sigma_value<float>(window, RangePlan{kHalo, kRadius, looks, low, high, noise2}, bright[made.band], clean);
    RowSums<float> all = window.three(0, 0);
    HFD_UNROLL
    for (int d = 1; d <= 2 * kSumRadius; ++d) {
      const RowSums<float> along = window.three(d, 0);
      all = {all.count + along.count, all.sum + along.sum, all.square + along.square};
    }
    if (clean) all.count = kWhole;
    const WindowSums<float> sums{all.count, 1.0f / all.count, all.sum, spread_of(all.count, all.sum, all.square)};
    if (kSees == Sees::rings) return frost_value(window, FrostPlan{kHalo, damping, ring_count, rings, taps}, sums, clean);
    return value_of(filter, sums, window.value(kHalo, kHalo));
  }

  HFD_DEVICE float value_of(SpeckleFilter which, const WindowSums<float>& sums, float centre) const {
    switch (which) {
      case SpeckleFilter::lee: return lee_value(sums, centre, cu2);
      case SpeckleFilter::kuan: return kuan_value(sums, centre, cu2);
      case SpeckleFilter::enhanced_lee: return enhanced_lee_value(sums, centre, looks);
      case SpeckleFilter::gamma_map: return gamma_map_value(sums, centre, looks);
      case SpeckleFilter::local_enl: return local_enl_value(sums, kWhole);
      default: return mean_of(sums);
    }
  }
};

template <Sees kSees, int kRadius>
void filter(const SpecklePlan& plan, const SpeckleCall& call, const CudaQueue& queue) {
  SpeckleBody<kSees, kRadius> body{};
  SpeckleImage& image = body.image;
  image.values = call.values;
  image.mask = call.mask;
  image.plane = call.size.rows * call.size.cols;
  image.rows = static_cast<int32_t>(call.size.rows);
  image.cols = static_cast<int32_t>(call.size.cols);
  image.nearest = plan.border == SpeckleBorder::nearest;
  find_inner(0, call.size.cols, kTileCols, body.kHalo, &image.inner.first_x, &image.inner.count_x);
  find_inner(call.first_row, call.size.rows, body.kTileRows, body.kHalo, &image.inner.first_y, &image.inner.count_y);
  body.out = call.out;
  body.first_row = static_cast<int32_t>(call.first_row);
  body.made_rows = static_cast<int32_t>(call.rows);
  body.filter = plan.filter;
  body.looks = plan.looks;
  body.cu2 = 1.0f / plan.looks;
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
  launch(body, {pieces_of(call.size.cols, kTileCols), pieces_of(call.rows, body.kTileRows), call.bands}, queue, "speckle filter");
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
  if (call.size.rows > kMostSide || call.size.cols > kMostSide)
    refuse(call.size.rows, " x ", call.size.cols, " pixels: a GPU's speckle filter takes at most ", kMostSide, " rows and columns; filter in parts");
  const SpeckleRings rings(config.radius);
  const SpecklePlan plan = speckle_plan(config, rings);
  if (config.filter == SpeckleFilter::refined_lee) return filter<Sees::halves, 3>(plan, call, queue);
  if (config.filter == SpeckleFilter::lee_sigma) return filter_with<Sees::range>(plan, call, queue);
  if (config.filter == SpeckleFilter::frost) return filter_with<Sees::rings>(plan, call, queue);
  filter_with<Sees::sums>(plan, call, queue);
}

}  // namespace hfd
