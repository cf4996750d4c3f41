// A thread makes one logit: neighbours lie side by side in everything that is read and written.
#include "common/launch.h"
#include "ops/blend_cuda.h"
#include "ops/blend_pixel.h"

namespace hfd {
namespace {

// Rows of a class are the second axis of the grid and classes the third.
struct BlendTileBody {
  static constexpr int kThreads = 128, kPhases = 1, kBlocksPerProcessor = 8;
  using Shared = NoShared;

  const float* tile;  // the first cell that is used
  float* field;       // where it goes
  const int32_t* share;
  const uint8_t* state;
  int64_t tile_row, tile_plane, field_row, field_plane, used_cols;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared&) const {
    const int64_t col = static_cast<int64_t>(at.block_x) * kThreads + at.thread;
    if (col >= used_cols) return;
    const float made = tile[at.block_z * tile_plane + at.block_y * tile_row + col];
    float& held = field[at.block_z * field_plane + at.block_y * field_row + col];
    if (state[col] == kBlendNone)
      held = made;
    else
      held = state[col] == kBlendFirst ? fuse(held, made, share[col]) : fuse(made, held, share[col]);
  }
};

struct BlendStripsBody {
  static constexpr int kThreads = 128, kPhases = 1, kBlocksPerProcessor = 8;
  using Shared = NoShared;

  float *upper, *lower;  // the first row that both have
  const int32_t* share;
  const uint8_t *upper_holds, *lower_holds;
  int64_t cols, upper_plane, lower_plane;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared&) const {
    const int64_t col = static_cast<int64_t>(at.block_x) * kThreads + at.thread;
    if (col >= cols) return;
    float& first = upper[at.block_z * upper_plane + at.block_y * cols + col];
    float& second = lower[at.block_z * lower_plane + at.block_y * cols + col];
    const float both = fuse(first, second, share[at.block_y]);
    const float result = lower_holds[col] == 0 ? first : upper_holds[col] == 0 ? second : both;
    first = result;
    second = result;
  }
};

}  // namespace

void blend_tile_cuda(const BlendTileCall& call, const CudaQueue& queue) {
  const Size tile = call.tile_size, field = call.field_size;
  const BlendTileBody body{call.tile + call.first.row * tile.cols + call.first.col, call.field + call.col, call.share, call.state,
                           tile.cols, tile.rows * tile.cols, field.cols, field.rows * field.cols, call.used_cols};
  launch(body, {pieces_of(call.used_cols, BlendTileBody::kThreads), field.rows, call.classes}, queue, "blending a tile");
}

void blend_strips_cuda(const BlendStripsCall& call, const CudaQueue& queue) {
  const BlendStripsBody body{call.upper + (call.upper_rows - call.rows) * call.cols, call.lower, call.share, call.upper_holds,
                             call.lower_holds, call.cols, call.upper_rows * call.cols, call.lower_rows * call.cols};
  launch(body, {pieces_of(call.cols, BlendStripsBody::kThreads), call.rows, call.classes}, queue, "blending strips");
}

}  // namespace hfd
