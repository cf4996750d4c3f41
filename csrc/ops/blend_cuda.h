// blend on a GPU: as blend.h; all addresses of a call, its shares and states too, are the device's.
#pragma once

#include "common/cuda_queue.h"
#include "ops/blend.h"

namespace hfd {

void blend_tile_cuda(const BlendTileCall& call, const CudaQueue& queue);      // the place has been checked
void blend_strips_cuda(const BlendStripsCall& call, const CudaQueue& queue);

}  // namespace hfd
