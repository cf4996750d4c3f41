// The speckle filters on a GPU.
#pragma once

#include "common/cuda_queue.h"
#include "ops/speckle.h"

namespace hfd {

// Addresses of `call` are the device's; config and call have been checked. Throws std::invalid_argument where there are more bands than
// a kernel's arguments hold.
void speckle_cuda(const SpeckleConfig& config, const SpeckleCall& call, const CudaQueue& queue);

}  // namespace hfd
