// Where the work of a GPU is enqueued.
#pragma once

#include <cuda_runtime_api.h>

namespace hfd {

struct CudaQueue {
  int device;
  cudaStream_t stream;
};

}  // namespace hfd
