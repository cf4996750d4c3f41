// Counts of a scene pass on a GPU: whole numbers, added by atomics, so their order does not matter.
#pragma once

#include <cstdint>

#include "common/cuda_queue.h"
#include "ops/scene_counts.h"

namespace hfd {

// As count_power_cpu and count_between_cpu; all addresses are the device's.
void count_power_cuda(const float* values, const PixelMask& mask, int64_t count, int64_t* histogram, int64_t* totals,
                      const CudaQueue& queue);
void count_between_cuda(const float* values, int64_t count, float low, float high, int64_t* counts, int64_t bins,
                        const CudaQueue& queue);

}  // namespace hfd
