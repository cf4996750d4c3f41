// Cuts the image into blocks and gives each worker its memory; the loops are in speckle_loops.h.
#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ops/row_loops.h"
#include "ops/speckle_plan.h"

namespace hfd {
namespace {

constexpr int64_t kBlockCols = 512;  // of Lee 7 x 7 the ring of sums then takes 28 KiB
constexpr int64_t kBlockRows = 128;  // the ring is filled anew at the head of each block
constexpr int64_t kVector = 16;      // of float32: arrays begin where the widest vector may
constexpr int64_t kWidth = kBlockCols + kSpeckleSlack + kVector;
static_assert(kSpeckleSlack >= 2 * kLargestRadius + kVector && kWidth % kVector == 0, "a block, its halos and a vector more");
constexpr int64_t kArraysPerRow = 5, kArraysBeside = 7;

// What a SpeckleScratch points to.
struct Memory {
  explicit Memory(int64_t rows) : floats((rows * kArraysPerRow + kArraysBeside) * kWidth + kVector) {
    constexpr uintptr_t kBytes = kVector * sizeof(float);
    float* next = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(floats.data()) + kBytes - 1) / kBytes * kBytes);
    const auto take = [&next] { return (next += kWidth) - kWidth; };
    for (int64_t i = 0; i < rows; ++i) {
      SpeckleRow& row = scratch.ring[i];
      row.value = take();
      row.sum = take();
      row.square = take();
      row.own_valid = take();
      row.own_count = take();
    }
    scratch.inside = take();
    scratch.inside_count = take();
    scratch.sum = take();
    scratch.square = take();
    scratch.count = take();
    scratch.one_over = take();
    scratch.made = take();
  }
  Memory(const Memory&) = delete;
  Memory(Memory&&) = default;
  std::vector<float> floats;
  SpeckleScratch scratch{};
};

}  // namespace

void speckle_cpu(const SpeckleConfig& config, const SpeckleCall& call) {
  const SpeckleBlockLoop loop = row_loops().speckle_block;
  const SpeckleRings rings(config.radius);
  const SpecklePlan plan = speckle_plan(config, rings);
  const int64_t cols = call.size.cols, plane = call.size.rows * cols;
  const int64_t across = (cols + kBlockCols - 1) / kBlockCols, down = (call.rows + kBlockRows - 1) / kBlockRows;
  const int64_t count = call.bands * down * across;
  const int threads = static_cast<int>(std::min<int64_t>(call.threads, count));
  std::vector<Memory> memory;
  memory.reserve(threads);
  for (int i = 0; i < threads; ++i) memory.emplace_back(2 * plan.halo + 1);
  parallel_for(count, threads, [&](int worker, int64_t item) {
    const int64_t band = item / (down * across), row = item / across % down * kBlockRows, col = item % across * kBlockCols;
    const SpeckleBlock block{call.values + band * plane, call.mask, call.size, call.first_row + row,
                             std::min(kBlockRows, call.rows - row), col, std::min(kBlockCols, cols - col),
                             call.bright.empty() ? 0.0f : call.bright[band],
                             call.out + (band * call.rows + row) * cols + col, cols};
    loop(plan, block, memory[worker].scratch);
  });
}

void speckle(const SpeckleConfig& config, const SpeckleCall& call) {
  check_speckle(config, call);
  speckle_cpu(config, call);
}

}  // namespace hfd
