#include "common/cuda_error.h"

#include <string>

namespace hfd {
namespace {

std::string message(cudaError_t code, const char* what) {
  return std::string(what) + " failed with " + cudaGetErrorName(code) + " (" + cudaGetErrorString(code) + "): " + cuda_way_out(code);
}

}  // namespace

const char* cuda_way_out(cudaError_t code) {
  switch (code) {
    case cudaErrorMemoryAllocation:
      return "give a smaller memory=, batch= or tile=, or end what else uses this GPU (nvidia-smi)";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return "install NVIDIA's driver for this GPU (nvidia-smi must list it; in a container: --gpus all), or use device='cpu'";
    case cudaErrorDevicesUnavailable:
      return "another process has this GPU for itself alone (nvidia-smi -q -d COMPUTE), or it is being reset: choose another one";
    case cudaErrorInvalidDevice:
      return "hfd-edge doctor lists the devices of this machine";
    case cudaErrorInitializationError:
      return "a process forked after CUDA was used cannot use it: make workers with multiprocessing.get_context('spawn')";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return "this GPU needs code that was not compiled: build hfd_edge on this machine with its own CUDA toolkit";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorIllegalInstruction:
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
      return "CUDA is lost to this process: start a new one, and report this with the output of compute-sanitizer";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureUnjoined:
      return "this work cannot be captured as a graph: run it without one (cuda_graph=False)";
    default:
      return "hfd-edge doctor shows driver and devices";
  }
}

CudaError::CudaError(cudaError_t code, const char* what) : std::runtime_error(message(code, what)), code_(code) {}

void cuda_check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  throw CudaError(code, what);
}

}  // namespace hfd
