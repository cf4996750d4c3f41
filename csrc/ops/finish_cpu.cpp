// Cuts the kept pixels into blocks and gives each worker its memory; the loops are in finish_loops.h.
#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ops/finish_block.h"
#include "ops/finish_pixel.h"
#include "ops/row_loops.h"

namespace hfd {
namespace {

constexpr int64_t kBlockCols = 256;  // 7 classes: two stretched rows are 14 KiB
constexpr int64_t kBlockRows = 64;   // a stretched row is made anew at the head of each block

// What a FinishScratch points to.
struct Memory {
  Memory(int64_t classes, int64_t width) : floats((2 * classes + 2) * width), numbers(width), bytes(2 * width) {
    scratch = {width, floats.data(), floats.data() + 2 * classes * width, floats.data() + (2 * classes + 1) * width,
               numbers.data(), bytes.data(), bytes.data() + width, {}};
  }
  Memory(const Memory&) = delete;
  Memory(Memory&&) = default;
  std::vector<float> floats;
  std::vector<int32_t> numbers;
  std::vector<uint8_t> bytes;
  FinishScratch scratch;
};

// Columns cut at cell borders into pieces of nearly equal width.
std::vector<FinishBlock> column_blocks(const FinishCall& call) {
  const int64_t first = cell_of(call.crop.col, call.stride);
  const int64_t cells = cell_of(call.crop.col + call.kept.cols - 1, call.stride) - first + 1;
  const int64_t most = std::max<int64_t>(1, kBlockCols / call.stride), pieces = (cells + most - 1) / most;
  std::vector<FinishBlock> blocks;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t cell = first + cells * i / pieces, end = first + cells * (i + 1) / pieces;
    const int64_t left = first_pixel(cell, call.stride) - call.crop.col, right = first_pixel(end, call.stride) - call.crop.col;
    const int64_t col = std::max<int64_t>(0, left), cols = std::min(right, call.kept.cols) - col;
    blocks.push_back({0, 0, col, cols, cell, end - cell, col - left});
  }
  return blocks;
}

}  // namespace

FinishCounts finish_cpu(const FinishCall& call) {
  const FinishBlockLoop loop = row_loops().finish_block;
  const std::vector<FinishBlock> columns = column_blocks(call);
  const int64_t across = static_cast<int64_t>(columns.size()), down = (call.kept.rows + kBlockRows - 1) / kBlockRows;
  const int threads = static_cast<int>(std::min<int64_t>(call.threads, across * down));
  std::vector<Memory> memory;
  memory.reserve(threads);
  for (int i = 0; i < threads; ++i) memory.emplace_back(call.classes, std::max(kBlockCols, call.stride) + kSlack);
  parallel_for(across * down, threads, [&](int worker, int64_t item) {
    FinishBlock block = columns[item % across];
    block.row = item / across * kBlockRows;
    block.rows = std::min(kBlockRows, call.kept.rows - block.row);
    loop(call, block, memory[worker].scratch);
  });
  FinishCounts counts;
  for (const Memory& own : memory) {
    counts.nodata += own.scratch.counts.nodata;
    counts.nan += own.scratch.counts.nan;
  }
  return counts;
}

FinishCounts finish(const FinishCall& call) {
  check_finish(call);
  return finish_cpu(call);
}

}  // namespace hfd
