// The emulated device. One lock guards everything; work runs in whichever thread waits for it.
#include "state.h"

void emulated_enqueue(cudaStream_t stream, const char* what, std::function<void()> work) {
  const Call call;
  if (!is_current(stream)) return void(answer(cudaErrorInvalidValue));
  state().kernels += std::string(what) == "kernel";
  append(stream, {what, std::move(work)});
}

const char* cudaGetErrorName(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInitializationError: return "cudaErrorInitializationError";
    case cudaErrorDevicesUnavailable: return "cudaErrorDevicesUnavailable";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    default: return "cudaErrorEmulated";
  }
}
const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
cudaError_t cudaGetLastError() {
  const Lock lock(state().lock);
  const cudaError_t code = state().last;
  state().last = cudaSuccess;
  return code;
}
cudaError_t cudaDriverGetVersion(int* version) { return *version = state().driver, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  if (state().driver < 13000) return answer(cudaErrorInsufficientDriver);
  return *count = state().devices, injected("cudaGetDeviceCount");
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated device", 9, 0, kTotal, 1};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 1000000, injected("cudaDeviceGetAttribute"); }
cudaError_t cudaDeviceGetPCIBusId(char* id, int length, int device) {
  if (const cudaError_t code = injected("cudaDeviceGetPCIBusId")) return code;
  return std::snprintf(id, length, "0000:%02X:00.0", 0xC1 - device), cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const Call call;
  if (const cudaError_t code = injected("cudaMalloc")) return code;
  State& now = state();
  if (now.used + bytes > now.limit) return answer(cudaErrorMemoryAllocation);
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*pointer, kPoison, bytes);
  now.device[*pointer] = {bytes, current_context()};
  now.used += bytes;
  now.peak = std::max(now.peak, now.used);
  ++now.allocations;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  const Call call;
  if (const cudaError_t code = injected("cudaFree")) return code;
  run_everything();
  const auto found = state().device.find(pointer);
  if (found == state().device.end()) return answer(cudaErrorInvalidValue);
  std::memset(pointer, kPoison, found->second.bytes);
  state().used -= found->second.bytes;
  state().device.erase(found);
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  const Call call;
  if (const cudaError_t code = injected("cudaHostAlloc")) return code;
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*pointer, kPoison, bytes);
  state().pinned[*pointer] = bytes;
  ++state().allocations;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  const Call call;
  const auto found = state().pinned.find(pointer);  // a copy that still waits finds poison: nobody promised to wait for it
  if (found == state().pinned.end()) return answer(cudaErrorInvalidValue);
  std::memset(pointer, kPoison, found->second);
  state().pinned.erase(found);
  state().freed.push_back(pointer);
  if (state().freed.size() > 64) {
    std::free(state().freed.front());
    state().freed.pop_front();
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  const Call call;
  *free_bytes = state().limit - state().used;
  *total = state().limit;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Call call;
  const Allocated* const found = allocation_at(pointer);
  if (found == nullptr) return *attributes = {cudaMemoryTypeUnregistered, -1, nullptr}, cudaSuccess;
  const bool reached = found->context == current_context();
  return *attributes = {cudaMemoryTypeDevice, found->context->device, reached ? const_cast<void*>(pointer) : nullptr}, cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const Call call;
  if (const cudaError_t code = injected("cudaMemcpyAsync")) return code;
  append(stream, {"copy", [=] { std::memcpy(to, from, bytes); }});
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return answer(cudaErrorInvalidValue);
  const Call call;
  append(stream, {"copy", [=] {
    for (size_t i = 0; i < height; ++i)
      std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width);
  }});
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream) {
  const Call call;
  if (!is_current(stream)) return answer(cudaErrorInvalidValue);
  append(stream, {"fill", [=] { std::memset(to, byte, bytes); }});
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Call call;
  *stream = new_stream();
  (*stream)->context = current_context();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t) {  // as above: what it was given is still done
  const Call call;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Call call;
  ++state().synchronisations;
  stream = stream_of(stream);
  if (const cudaError_t code = injected("cudaStreamSynchronize")) return code;
  if (stream->capture != nullptr) return answer(cudaErrorStreamCaptureUnsupported);
  run_all(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Call call;
  if (event->recorded > 0) append(stream, {"wait", nullptr, event, event->recorded});
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Call call;
  return *event = new EmulatedEvent{flags, current_context()}, cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t) {  // waits for nothing, and work that waits may name it: it is kept
  const Call call;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Call call;
  if (event->context != context_of(stream)) return answer(cudaErrorInvalidResourceHandle);
  event->stream = stream_of(stream);
  const uint64_t generation = ++event->recorded;
  append(stream, {"record", [=] {
    event->done = std::max(event->done, generation);
    event->when = std::chrono::steady_clock::now();
  }});
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Call call;
  if (const cudaError_t code = injected("cudaEventSynchronize")) return code;
  ++(event->flags & cudaEventBlockingSync ? state().slept : state().spun);
  if (event->stream != nullptr) run_until(event, event->recorded);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Call call;
  if (const cudaError_t code = injected("cudaEventQuery")) return code;
  if (event->done == event->recorded || state().policy == Policy::idle) return cudaSuccess;
  run_one(event->stream);
  return answer(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const Call call;
  if (from->done == 0 || to->done == 0) return answer(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(to->when - from->when).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Call call;
  if (const cudaError_t code = injected("cudaStreamBeginCapture")) return code;
  stream->capture = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Call call;
  *graph = stream->capture;
  stream->capture = nullptr;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  const Call call;
  if (const cudaError_t code = injected("cudaGraphInstantiate")) return code;
  *made = new EmulatedGraph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  const Call call;
  return delete graph, cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  const Call call;
  for (const Work& work : graph->work) append(stream, work);
  return cudaSuccess;
}

// What tests ask for, by ctypes.

HFD_SEEN void emulated_policy(const char* name, unsigned seed) {
  const Lock lock(state().lock);
  const std::string wanted = name;
  state().policy = wanted == "eager" ? Policy::eager : wanted == "random" ? Policy::random : wanted == "idle" ? Policy::idle : Policy::lazy;
  state().random.seed(seed);
}

HFD_SEEN void emulated_fail(const char* call, long after, int code) {
  const Lock lock(state().lock);
  state().failing[call] = {after, static_cast<cudaError_t>(code)};
}

HFD_SEEN void emulated_devices(int count) {
  const Lock lock(state().lock);
  state().devices = count;
}

HFD_SEEN void emulated_driver(int version) {
  const Lock lock(state().lock);
  state().driver = version;
}

HFD_SEEN void emulated_limit(size_t bytes) {
  const Lock lock(state().lock);
  state().limit = bytes == 0 ? kTotal : bytes;
  state().peak = state().used;
}

// allocations so far, kernels so far, bytes in use, their peak, work that waits, streams that were waited for,
// waits for events that slept and that spun
HFD_SEEN void emulated_counts(long* to) {
  const Lock lock(state().lock);
  const State& now = state();
  long waiting = 0;
  for (const EmulatedStream* stream : now.streams) waiting += static_cast<long>(stream->queue.size());
  const long all[] = {now.allocations, now.kernels, static_cast<long>(now.used), static_cast<long>(now.peak), waiting,
                      now.synchronisations, now.slept, now.spun};
  std::memcpy(to, all, sizeof all);
}

// Appends a call of the host to a stream: how a test's network stands for an engine's kernels.
HFD_SEEN void emulated_call(uintptr_t stream, void (*function)(long), long argument) {
  const Lock lock(state().lock);
  append(reinterpret_cast<EmulatedStream*>(stream), {"call", [=] { function(argument); }});
}
