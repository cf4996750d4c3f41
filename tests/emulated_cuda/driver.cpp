// The emulated driver, and what tests ask of contexts.
#include "dlfcn.h"
#include "state.h"

namespace {

// What a test asked this call to answer, once; the run time's last error is not the driver's.
CUresult refused(const char* call) {
  const cudaError_t before = state().last, code = injected(call);
  state().last = before;
  return static_cast<CUresult>(code);
}

}  // namespace

CUresult cuInit(unsigned) {
  const Lock lock(state().lock);
  return state().devices == 0 ? CUDA_ERROR_NO_DEVICE : refused("cuInit");
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  const Lock lock(state().lock);
  if (ordinal < 0 || ordinal >= state().devices) return CUDA_ERROR_INVALID_DEVICE;
  return *device = ordinal, CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  const Lock lock(state().lock);
  if (const CUresult code = refused("cuDevicePrimaryCtxRetain")) return code;
  return *context = primary_context(device), CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  const Lock lock(state().lock);
  return *context = bound, refused("cuCtxGetCurrent");
}

CUresult cuCtxSetCurrent(CUcontext context) {
  const Lock lock(state().lock);
  if (const CUresult code = refused("cuCtxSetCurrent")) return code;
  bound = context;
  if (context != nullptr && context == &state().primary[context->device]) primary_context(context->device);
  return CUDA_SUCCESS;
}

void* emulated_library() {
  const Lock lock(state().lock);
  return state().driver == 0 ? nullptr : &state();
}

void* emulated_function(const char* name) {
  static const std::map<std::string, void*> all = {
      {"cuInit", reinterpret_cast<void*>(&cuInit)},
      {"cuDeviceGet", reinterpret_cast<void*>(&cuDeviceGet)},
      {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(&cuDevicePrimaryCtxRetain)},
      {"cuCtxGetCurrent", reinterpret_cast<void*>(&cuCtxGetCurrent)},
      {"cuCtxSetCurrent", reinterpret_cast<void*>(&cuCtxSetCurrent)}};
  const auto found = all.find(name);
  return found == all.end() ? nullptr : found->second;
}

// A bit for each device whose primary context was made or chosen since the last call.
HFD_SEEN uint64_t emulated_contexts() {
  const Lock lock(state().lock);
  return std::exchange(state().contexts, 0);
}

// The calling thread's context: its device, plus kMostDevices where its caller made it for itself; -1 = none.
HFD_SEEN int emulated_current() { return bound == nullptr ? -1 : bound->device + (bound == &state().own[bound->device]) * kMostDevices; }

// Makes a context the calling thread's; numbers as above.
HFD_SEEN void emulated_bind(int number) {
  const Lock lock(state().lock);
  const int device = number % kMostDevices;
  bound = number < 0 ? nullptr : number < kMostDevices ? primary_context(device) : &state().own[device];
}

// Device memory made in such a context, by a library that works there.
HFD_SEEN uint64_t emulated_allocate(size_t bytes, int number) {
  CUctx_st* const before = bound;
  void* made = nullptr;
  emulated_bind(number);
  cudaMalloc(&made, bytes);
  bound = before;
  return reinterpret_cast<uint64_t>(made);
}
