// One number after the other, as scene_counts_cpu.cpp: the next address depends on the number.
#include "ops/enl_pairs.h"

#include <algorithm>
#include <vector>

#include "common/float_env.h"
#include "ops/scene_counts_pixel.h"

namespace hfd {
namespace {

// The bin of every number of a row, -1 where it has none.
void bins_of(const float* row, int64_t cols, const PairCall& call, int64_t bins, int32_t* to) {
  const float scale = static_cast<float>(bins) / (call.high - call.low);
  for (int64_t i = 0; i < cols; ++i)
    to[i] = row[i] >= call.low && row[i] < call.high ? static_cast<int32_t>(bin_between(row[i], call.low, scale, bins)) : -1;
}

}  // namespace

void count_pairs_cpu(const PairCall& call, int64_t* table, int64_t bins) {
  const FloatEnvironment environment;
  const int64_t cols = call.size.cols, end = call.first_col + call.cols;
  std::vector<int32_t> here(cols), below(cols);
  for (int64_t r = 0; r < call.rows; ++r) {
    bins_of(call.plane + r * cols, cols, call, bins, here.data());
    const bool has_below = r + call.apart < call.size.rows;
    if (has_below) bins_of(call.plane + (r + call.apart) * cols, cols, call, bins, below.data());
    for (int64_t c = call.first_col; c < end; ++c) {
      if (here[c] < 0) continue;
      int64_t* const line = table + here[c] * bins;
      if (c + call.apart < cols && here[c + call.apart] >= 0) ++line[here[c + call.apart]];
      if (has_below && below[c] >= 0) ++line[below[c]];
    }
  }
}

}  // namespace hfd
