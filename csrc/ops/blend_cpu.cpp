// The loops of blend: a row of one class is one work item. They are bound by memory, at the logits' stride, so they are compiled once.
#include "common/parallel.h"
#include "common/refuse.h"
#include "ops/blend.h"
#include "ops/blend_pixel.h"

namespace hfd {
namespace {

// Cells of one state: no branch is left in the loop, so the compiler makes it a vector's.
void blend_run(float* __restrict held, const float* __restrict made, const int32_t* __restrict share, int64_t count, uint8_t state) {
  if (state == kBlendNone) {
    memcpy(held, made, count * sizeof *made);
  } else if (state == kBlendFirst) {
    for (int64_t i = 0; i < count; ++i) held[i] = fuse(held[i], made[i], share[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) held[i] = fuse(made[i], held[i], share[i]);
  }
}

void fuse_rows(float* __restrict upper, float* __restrict lower, const BlendStripsCall& call, int32_t share) {
  const uint8_t *above = call.upper_holds, *below = call.lower_holds;
  for (int64_t col = 0; col < call.cols; ++col) {
    const float first = upper[col], second = lower[col], both = fuse(first, second, share);
    upper[col] = lower[col] = below[col] == 0 ? first : above[col] == 0 ? second : both;
  }
}

void check_shares(const int32_t* share, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (share[i] < 0 || share[i] > kShareOne)
      refuse("share[", i, "]=", share[i], ": it must be 0 to ", kShareOne, "; make it with hfd_edge.tiles.shares");
}

}  // namespace

void blend_tile_cpu(const BlendTileCall& call) {
  const Size tile = call.tile_size, field = call.field_size;
  parallel_for(call.classes * field.rows, call.threads, [&](int, int64_t item) {
    const int64_t c = item / field.rows, row = item % field.rows;
    const float* made = call.tile + (c * tile.rows + call.first.row + row) * tile.cols + call.first.col;
    float* held = call.field + (c * field.rows + row) * field.cols + call.col;
    for (int64_t col = 0, end; col < call.used_cols; col = end) {
      for (end = col + 1; end < call.used_cols && call.state[end] == call.state[col]; ++end) {
      }
      blend_run(held + col, made + col, call.share + col, end - col, call.state[col]);
    }
  });
}

void blend_strips_cpu(const BlendStripsCall& call) {
  parallel_for(call.classes * call.rows, call.threads, [&](int, int64_t item) {
    const int64_t c = item / call.rows, row = item % call.rows;
    float* upper = call.upper + (c * call.upper_rows + call.upper_rows - call.rows + row) * call.cols;
    float* lower = call.lower + (c * call.lower_rows + row) * call.cols;
    fuse_rows(upper, lower, call, call.share[row]);
  });
}

void blend_tile(const BlendTileCall& call) {
  check_blend_place(call);
  check_shares(call.share, call.used_cols);
  blend_tile_cpu(call);
}

void blend_strips(const BlendStripsCall& call) {
  check_blend_rows(call);
  check_shares(call.share, call.rows);
  blend_strips_cpu(call);
}

}  // namespace hfd
