#include "common/cuda_memory.h"

#include <chrono>
#include <string>

#include "common/cuda_error.h"
#include "common/on_device.h"
#include "common/watch.h"

namespace hfd {
namespace {

// Longer than it takes to sleep and be woken, shorter than most batches.
constexpr std::chrono::microseconds kWatched{100};

// Gives something back on its device. Nobody can be told of a failure: it is one of earlier work, and was or will be told by its own call.
// Left as CUDA's last one it would be told of the next kernel.
template <class Call>
void give_back(int device, const Call& call) noexcept {
  try {
    const OnDevice here(device);
    if (call() != cudaSuccess) cudaGetLastError();
  } catch (const CudaError&) {
    return;  // in a forked process, or at the end of this one: CUDA took everything back
  }
}

}  // namespace

DeviceBuffer::DeviceBuffer(int device, size_t bytes) : bytes_(bytes), device_(device) {
  const OnDevice here(device);
  const std::string what = "allocating " + std::to_string(bytes) + " bytes on cuda:" + std::to_string(device);
  cuda_check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), what.c_str());
}

void DeviceBuffer::release() noexcept {
  if (data_ == nullptr) return;
  give_back(device_, [this] { return cudaFree(data_); });
  data_ = nullptr;
}

PinnedBuffer::PinnedBuffer(int device, size_t bytes) : bytes_(bytes), device_(device) {
  const OnDevice here(device);
  const std::string what = "pinning " + std::to_string(bytes) + " bytes of main memory";
  cuda_check(cudaHostAlloc(&data_, bytes > 0 ? bytes : 1, cudaHostAllocPortable), what.c_str());
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) give_back(device_, [this] { return cudaFreeHost(data_); });
}

Event::Event(int device, bool timing) : device_(device) {
  const OnDevice here(device);
  cuda_check(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | (timing ? cudaEventDefault : cudaEventDisableTiming)), "making an event");
}

Event::~Event() {
  if (event_ != nullptr) give_back(device_, [this] { return cudaEventDestroy(event_); });
}

void Event::record(cudaStream_t stream) {
  const OnDevice here(device_);
  cuda_check(cudaEventRecord(event_, stream), "recording an event");
}

void Event::synchronize() const {
  const OnDevice here(device_);
  if (watch(kWatched, [this] { return reached(); })) return;
  cuda_check(cudaEventSynchronize(event_), "waiting for the device");
}

bool Event::done() const {
  const OnDevice here(device_);
  return reached();
}

bool Event::reached() const {
  const cudaError_t code = cudaEventQuery(event_);
  if (code == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  cuda_check(code, "asking for an event");
  return true;
}

float Event::milliseconds_since(const Event& earlier) const {
  const OnDevice here(device_);
  float milliseconds = 0.0f;
  cuda_check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "timing between two events");
  return milliseconds;
}

Graph::~Graph() {
  if (graph_ != nullptr) give_back(device_, [this] { return cudaGraphExecDestroy(graph_); });
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
  if (cudaGraphDestroy(captured) != cudaSuccess) cudaGetLastError();
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
  if (stream_ != nullptr) give_back(device_, [this] { return cudaStreamDestroy(stream_); });
}

MemoryInfo memory_info(int device) {
  const OnDevice here(device);
  MemoryInfo info{};
  cuda_check(cudaMemGetInfo(&info.free, &info.total), "asking for the free device memory");
  return info;
}

}  // namespace hfd
