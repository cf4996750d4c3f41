// Saturated pixels of a scene in device memory, counted where they lie. A CPU counts strips as they are read, in NumPy.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cuda_queue.h"
#include "ops/gather.h"

namespace hfd {

struct SaturationCall {
  Image values;
  Element element;
  Plane valid;                 // uint8, nonzero = valid; without data = all valid
  std::vector<double> nodata;  // stored values
  double level;                // stored value; of a complex number the real or the imaginary part reaches it
};

// Adds to `total`, in device memory, the pixels that have a value in every band and reach the level in one. Throws
// std::invalid_argument where no number of the element is the level, or a kernel has no room for the nodata values.
void count_saturated_cuda(const SaturationCall& call, int64_t* total, const CudaQueue& queue);

}  // namespace hfd
