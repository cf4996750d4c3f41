// What CUDA answers where it fails, as an exception with CUDA's name of the failure and the way out.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>

namespace hfd {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const char* what);
  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

// Throws unless `code` is success; `what` says what was wanted. A later call does not see this failure again.
void cuda_check(cudaError_t code, const char* what);

// What to do about a failure; the sticky ones end every later call of this process.
const char* cuda_way_out(cudaError_t code);

}  // namespace hfd
