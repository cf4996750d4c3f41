// The loops of blend: a row of one class is one work item. They are bound by memory, at the logits' stride, so they are compiled once.
#include "common/parallel.h"
#include "ops/blend.h"
#include "ops/blend_pixel.h"

namespace hfd {

void blend_tile_cpu(const BlendTileCall& call) {
  const Size tile = call.tile_size, field = call.field_size;
  const auto is_new = [&](int64_t col) { return call.state[col] == kBlendNone; };
  parallel_for(call.classes * field.rows, call.threads, [&](int, int64_t item) {
    const int64_t c = item / field.rows, row = item % field.rows;
    const float* made = call.tile + (c * tile.rows + call.first.row + row) * tile.cols + call.first.col;
    float* held = call.field + (c * field.rows + row) * field.cols + call.col;
    for (int64_t col = 0; col < call.used_cols;) {
      int64_t end = col;
      while (end < call.used_cols && is_new(end)) ++end;
      if (end > col) memcpy(held + col, made + col, (end - col) * sizeof *made);
      for (col = end; col < call.used_cols && !is_new(col); ++col)
        held[col] = blend_pixel(held[col], made[col], call.share[col], call.state[col]);
    }
  });
}

void blend_strips_cpu(const BlendStripsCall& call) {
  parallel_for(call.classes * call.rows, call.threads, [&](int, int64_t item) {
    const int64_t c = item / call.rows, row = item % call.rows;
    float* upper = call.upper + (c * call.upper_rows + call.upper_rows - call.rows + row) * call.cols;
    float* lower = call.lower + (c * call.lower_rows + row) * call.cols;
    const int32_t share = call.share[row];
    for (int64_t col = 0; col < call.cols; ++col) {
      const float first = upper[col], second = lower[col], both = fuse(first, second, share);
      upper[col] = lower[col] = !call.lower_holds[col] ? first : call.upper_holds[col] ? both : second;
    }
  });
}

}  // namespace hfd
