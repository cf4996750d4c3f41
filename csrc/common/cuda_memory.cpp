#include "common/cuda_memory.h"

#include <chrono>
#include <string>

#include "common/watch.h"

namespace hfd {
namespace {

// Longer than it takes to sleep and be woken, shorter than most batches.
constexpr std::chrono::microseconds kWatched{100};

// What to do about a failure; the sticky ones end every later call of this process.
const char* way_out(cudaError_t code) {
  switch (code) {
    case cudaErrorMemoryAllocation:
      return "give a smaller memory=, batch= or tile=, or end what else uses this GPU (nvidia-smi)";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return "install NVIDIA's driver for this GPU (nvidia-smi must list it; in a container: --gpus all), or use device='cpu'";
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

// What gives something back has nobody to tell of a failure: it is one of earlier work, and was or will be told by its own call. Left as CUDA's
// last one it would be told of the next kernel.
void dropped(cudaError_t code) noexcept {
  if (code != cudaSuccess) cudaGetLastError();
}

std::string message(cudaError_t code, const char* what) {
  return std::string(what) + " failed with " + cudaGetErrorName(code) + " (" + cudaGetErrorString(code) + "): " + way_out(code);
}

}  // namespace

CudaError::CudaError(cudaError_t code, const char* what) : std::runtime_error(message(code, what)), code_(code) {}

void cuda_check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  throw CudaError(code, what);
}

OnDevice::OnDevice(int device) {
  cuda_check(cudaGetDevice(&before_), "asking for the current device");
  if (device == before_) return;
  cuda_check(cudaSetDevice(device), ("choosing cuda:" + std::to_string(device)).c_str());
  set_ = true;
}

OnDevice::~OnDevice() {
  if (set_) dropped(cudaSetDevice(before_));
}

DeviceBuffer::DeviceBuffer(int device, size_t bytes) : bytes_(bytes), device_(device) {
  const OnDevice here(device);
  const std::string what = "allocating " + std::to_string(bytes) + " bytes on cuda:" + std::to_string(device);
  cuda_check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), what.c_str());
}

void DeviceBuffer::release() noexcept {
  if (data_ != nullptr) dropped(cudaFree(data_));
  data_ = nullptr;
}

PinnedBuffer::PinnedBuffer(size_t bytes) : bytes_(bytes) {
  const std::string what = "pinning " + std::to_string(bytes) + " bytes of main memory";
  cuda_check(cudaHostAlloc(&data_, bytes > 0 ? bytes : 1, cudaHostAllocPortable), what.c_str());
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) dropped(cudaFreeHost(data_));
}

Event::Event(int device, bool timing) : device_(device) {
  const OnDevice here(device);
  cuda_check(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | (timing ? cudaEventDefault : cudaEventDisableTiming)), "making an event");
}

Event::~Event() {
  if (event_ != nullptr) dropped(cudaEventDestroy(event_));
}

void Event::record(cudaStream_t stream) {
  const OnDevice here(device_);
  cuda_check(cudaEventRecord(event_, stream), "recording an event");
}

void Event::synchronize() const {
  if (watch(kWatched, [this] { return done(); })) return;
  cuda_check(cudaEventSynchronize(event_), "waiting for the device");
}

bool Event::done() const {
  const cudaError_t code = cudaEventQuery(event_);
  if (code == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  cuda_check(code, "asking for an event");
  return true;
}

float Event::milliseconds_since(const Event& earlier) const {
  float milliseconds = 0.0f;
  cuda_check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "timing between two events");
  return milliseconds;
}

Graph::~Graph() {
  if (graph_ != nullptr) dropped(cudaGraphExecDestroy(graph_));
}

void Graph::begin(cudaStream_t stream) {
  const OnDevice here(device_);
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning to capture a stream");
}

void Graph::end(cudaStream_t stream) {
  const OnDevice here(device_);
  cudaGraph_t captured = nullptr;
  cuda_check(cudaStreamEndCapture(stream, &captured), "capturing a stream");
  const cudaError_t code = cudaGraphInstantiateWithFlags(&graph_, captured, 0);
  dropped(cudaGraphDestroy(captured));
  cuda_check(code, "making a graph of what was captured");
}

void Graph::launch(cudaStream_t stream) {
  if (graph_ == nullptr) throw std::logic_error("a graph was launched before anything was captured");
  const OnDevice here(device_);
  cuda_check(cudaGraphLaunch(graph_, stream), "launching a graph");
}

Stream::Stream(int device) : device_(device) {
  const OnDevice here(device);
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

Stream::~Stream() {
  if (stream_ != nullptr) dropped(cudaStreamDestroy(stream_));
}

MemoryInfo memory_info(int device) {
  const OnDevice here(device);
  MemoryInfo info{};
  cuda_check(cudaMemGetInfo(&info.free, &info.total), "asking for the free device memory");
  return info;
}

}  // namespace hfd
