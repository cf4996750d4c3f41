// Blocks of columns, rows downwards. A row of logits is stretched along its columns once and kept while the output rows that lie
// between it and its neighbour are made; what is left per pixel and class is one lerp with a constant weight and a comparison.
#include "ops/finish.h"

#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ops/finish_pixel.h"

namespace hfd {
namespace {

constexpr int64_t kBlockCols = 256;  // 5 classes: two stretched rows are 10 KiB
constexpr int64_t kBlockRows = 64;   // a stretched row is made anew at the head of each block

// Memory of one worker.
struct Scratch {
  explicit Scratch(int64_t classes) : stretched(2 * classes * kBlockCols) {}
  std::vector<float> stretched;                // (2, classes, kBlockCols)
  int64_t held[2] = {-1, -1};                  // logit rows in it
  float best[kBlockCols] = {}, sum[kBlockCols] = {};
  int32_t label[kBlockCols] = {}, broken[kBlockCols] = {};  // broken: a NaN was seen
  FinishCounts counts;
};

struct Block {
  int64_t row, rows, col, cols;  // kept pixels
};

// One class of an output row: logits above and below, already stretched; fraction 0 reads the row above alone.
struct Lerp {
  const float *above, *below;
  float fraction;
  float operator()(int64_t i) const { return lerp(above[i], below[i], fraction); }
};

struct Copy {
  const float* above;
  float operator()(int64_t i) const { return above[i]; }
};

void stretch_row(const FinishCall& call, const std::vector<Between>& columns, const Block& block, int64_t logit_row, float* out) {
  for (int64_t c = 0; c < call.classes; ++c) {
    const float* row = call.logits + (c * call.logit_size.rows + logit_row) * call.logit_size.cols;
    const Between* at = columns.data() + block.col;
    float* stretched = out + c * kBlockCols;
    if (call.stride == 1) {
      std::copy_n(row + call.crop.col + block.col, block.cols, stretched);
      continue;
    }
    for (int64_t i = 0; i < block.cols; ++i) {
      const float low = row[at[i].low], high = row[at[i].high];
      stretched[i] = at[i].fraction > 0.0f ? lerp(low, high, at[i].fraction) : low;
    }
  }
}

// The stretched logit row, from the cache if it is there; `other` is the row that must stay.
const float* stretched_row(const FinishCall& call, const std::vector<Between>& columns, const Block& block, int64_t logit_row,
                           int64_t other, Scratch& scratch) {
  const int64_t size = call.classes * kBlockCols;
  for (int slot = 0; slot < 2; ++slot)
    if (scratch.held[slot] == logit_row) return scratch.stretched.data() + slot * size;
  const int slot = scratch.held[0] == other ? 1 : 0;
  stretch_row(call, columns, block, logit_row, scratch.stretched.data() + slot * size);
  scratch.held[slot] = logit_row;
  return scratch.stretched.data() + slot * size;
}

// Largest logit and its lowest class, class by class in order.
template <class Logits>
void argmax_row(int64_t classes, int64_t cols, const Logits& logits_of, Scratch& scratch) {
  float* best = scratch.best;
  int32_t *label = scratch.label, *broken = scratch.broken;
  const auto first = logits_of(0);
  for (int64_t i = 0; i < cols; ++i) {
    best[i] = first(i);
    label[i] = 0;
    broken[i] = static_cast<int32_t>(best[i] != best[i]);
  }
  for (int64_t c = 1; c < classes; ++c) {
    const auto logit = logits_of(c);
    const int32_t number = static_cast<int32_t>(c);
    for (int64_t i = 0; i < cols; ++i) {
      const float value = logit(i), leader = best[i];
      const int32_t wins = -static_cast<int32_t>(value > leader);  // all bits or none: a branch here would keep the loop scalar
      label[i] = (number & wins) | (label[i] & ~wins);
      best[i] = value > leader ? value : leader;
      broken[i] |= static_cast<int32_t>(value != value);
    }
  }
}

template <class Logits>
void softmax_row(int64_t classes, int64_t cols, const Logits& logits_of, Scratch& scratch) {
  float* sum = scratch.sum;
  const float* best = scratch.best;
  std::fill(sum, sum + cols, 0.0f);
  for (int64_t c = 0; c < classes; ++c) {
    const auto logit = logits_of(c);
    for (int64_t i = 0; i < cols; ++i) sum[i] += softmax_term(logit(i), best[i]);
  }
}

// Nodata is counted before NaN: what the network says about a hole is of no interest.
void store_labels(const FinishCall& call, const Block& block, int64_t row, Scratch& scratch) {
  const uint8_t* status = call.status + (call.crop.row + row) * call.status_size.cols + call.crop.col + block.col;
  uint8_t* labels = call.labels + row * call.label_stride + block.col;
  const int64_t cols = block.cols;
  const int32_t* label = scratch.label;
  int32_t *broken = scratch.broken, nodata = 0, nan = 0;
  for (int64_t i = 0; i < cols; ++i) {
    const int32_t hole = static_cast<int32_t>(status[i] == 1), bad = broken[i];
    nodata += hole;
    nan += bad & ~hole;
    broken[i] = hole | bad;
    labels[i] = static_cast<uint8_t>(label[i] | -(hole | bad));  // all bits set is 255, nodata
  }
  scratch.counts.nodata += nodata;
  scratch.counts.nan += nan;
}

void store_confidence(const FinishCall& call, const Block& block, int64_t row, const Scratch& scratch) {
  uint8_t* confidence = call.confidence + row * call.confidence_stride + block.col;
  const int64_t cols = block.cols;
  const int32_t* broken = scratch.broken;
  const float* sum = scratch.sum;
  for (int64_t i = 0; i < cols; ++i) confidence[i] = static_cast<uint8_t>(confidence_step(sum[i]) | -broken[i]);
}

template <class Logits>
void finish_row(const FinishCall& call, const Block& block, int64_t row, const Logits& logits_of, Scratch& scratch) {
  argmax_row(call.classes, block.cols, logits_of, scratch);
  store_labels(call, block, row, scratch);
  if (call.confidence == nullptr) return;
  softmax_row(call.classes, block.cols, logits_of, scratch);
  store_confidence(call, block, row, scratch);
}

void finish_block(const FinishCall& call, const std::vector<Between>& columns, const Block& block, Scratch& scratch) {
  scratch.held[0] = scratch.held[1] = -1;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    const Between at = between(call.crop.row + row, call.stride, call.logit_size.rows);
    const float* above = stretched_row(call, columns, block, at.low, at.high, scratch);
    if (at.fraction > 0.0f) {
      const float* below = stretched_row(call, columns, block, at.high, at.low, scratch);
      const auto logits_of = [&](int64_t c) { return Lerp{above + c * kBlockCols, below + c * kBlockCols, at.fraction}; };
      finish_row(call, block, row, logits_of, scratch);
    } else {
      finish_row(call, block, row, [&](int64_t c) { return Copy{above + c * kBlockCols}; }, scratch);
    }
  }
}

}  // namespace

FinishCounts finish_cpu(const FinishCall& call) {
  std::vector<Between> columns;
  for (int64_t x = 0; x < call.kept.cols; ++x) columns.push_back(between(call.crop.col + x, call.stride, call.logit_size.cols));
  const int64_t across = (call.kept.cols + kBlockCols - 1) / kBlockCols, down = (call.kept.rows + kBlockRows - 1) / kBlockRows;
  const int threads = static_cast<int>(std::min<int64_t>(call.threads, across * down));
  std::vector<Scratch> scratch(threads, Scratch(call.classes));
  parallel_for(across * down, threads, [&](int worker, int64_t item) {
    const int64_t row = item / across * kBlockRows, col = item % across * kBlockCols;
    const Block block{row, std::min(kBlockRows, call.kept.rows - row), col, std::min(kBlockCols, call.kept.cols - col)};
    finish_block(call, columns, block, scratch[worker]);
  });
  FinishCounts counts;
  for (const Scratch& own : scratch) {
    counts.nodata += own.counts.nodata;
    counts.nan += own.counts.nan;
  }
  return counts;
}

}  // namespace hfd
