// gather on a GPU: the tiles of a batch in one launch, from a window of the scene in device memory.
#pragma once

#include "common/cuda_queue.h"
#include "ops/gather.h"

namespace hfd {

constexpr int kMostBatch = 32;         // tiles of one launch
constexpr int kMostCudaBands = 64;     // arguments of a kernel are 4 KiB
constexpr int kMostCudaNodata = 32;

// A tile of a batch: scene coordinates of its first pixel, and the part of it that is kept.
struct GatherTile {
  int32_t row, col;
  int32_t core_row, core_col, core_rows, core_cols;
};

struct GatherBatch {
  const GatherTile* tiles;
  int64_t count;
  uint32_t* seen;  // per tile, set to 1 where a pixel of its core is not nodata, else left as it is; or null
};

// Tile i of the batch goes to call.tile + i bands rows cols, and its status to call.status + i rows cols. call.origin is not read;
// every tile has been checked. Throws std::invalid_argument where kernels have no room for the bands or nodata values.
void gather_cuda(const GatherConfig& config, const GatherCall& call, const GatherBatch& batch, const CudaQueue& queue);

}  // namespace hfd
