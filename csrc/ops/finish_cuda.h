// finish on a GPU: the tiles of a batch in one launch, from logits in device memory to a strip of labels in device memory.
#pragma once

#include "common/cuda_queue.h"
#include "ops/finish.h"

namespace hfd {

constexpr int kMostFinishBatch = 32;  // tiles of one launch

// A tile of a batch: what is kept of it, and where its first kept pixel goes.
struct FinishTile {
  int32_t crop_row, crop_col, rows, cols;
  int64_t at;             // bytes from labels
  int64_t score_at;       // bytes from score
};

struct FinishBatch {
  const FinishTile* tiles;
  int64_t count;
  unsigned long long* counts;  // (tiles, 2): nodata and NaN pixels are added
};

// Logits, status of tile i lie i tiles behind those of the call; crop and kept of the call are not read; every tile has been checked.
void finish_cuda(const FinishCall& call, const FinishBatch& batch, const CudaQueue& queue);

}  // namespace hfd
