// What gather says of pixels, as the mask that filters and counts take.
#pragma once

#include <cstdint>

#include "common/cuda_queue.h"

namespace hfd {

// Status (see gather_pixel.h) to nonzero = valid, where it lies in device memory; as `status != kNodata` does on the CPU.
void valid_of_status_cuda(uint8_t* status, int64_t count, const CudaQueue& queue);

}  // namespace hfd
