#include "common/on_device.h"

#include <cuda.h>
#include <dlfcn.h>

#include <atomic>
#include <string>

#include "common/cuda_error.h"
#include "common/devices.h"

namespace hfd {
namespace {

// Of the driver, which is looked for where the run time looks for it: an installation without one must import this module, and
// cudaGetDriverEntryPoint asks a driver for the newest functions of this toolkit, which an older one of the same major version has not.
struct Driver {
  decltype(&cuInit) init;
  decltype(&cuDeviceGet) device;
  decltype(&cuDevicePrimaryCtxRetain) retain;
  decltype(&cuCtxGetCurrent) current;
  decltype(&cuCtxSetCurrent) set_current;
};

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = library == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw CudaError(cudaErrorInsufficientDriver, ("looking for " + std::string(name) + " in libcuda.so.1").c_str());
}

// A failure of the driver has the run time's number.
void check(CUresult code, const std::string& what) { cuda_check(static_cast<cudaError_t>(code), what.c_str()); }

Driver load() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  Driver found{};
  find(library, "cuInit", found.init);
  find(library, "cuDeviceGet", found.device);
  find(library, "cuDevicePrimaryCtxRetain", found.retain);
  find(library, "cuCtxGetCurrent", found.current);
  find(library, "cuCtxSetCurrent", found.set_current);
  check(found.init(0), "beginning with CUDA");
  return found;
}

const Driver& driver() {
  static const Driver found = load();
  return found;
}

// Kept from the first use to the end of the process, as the run time does; two threads that come first together get the same one.
Context primary_context(int device) {
  static std::atomic<Context> made[kMaxDevices];
  if (device < 0 || device >= kMaxDevices) throw CudaError(cudaErrorInvalidDevice, ("choosing cuda:" + std::to_string(device)).c_str());
  Context context = made[device].load();
  if (context != nullptr) return context;
  const std::string what = "making a context on cuda:" + std::to_string(device);
  CUdevice number = 0;
  check(driver().device(&number, device), what);
  check(driver().retain(&context, number), what);
  made[device].store(context);
  return context;
}

}  // namespace

Context enter_device(int device) {
  Context before = nullptr;
  const CUresult code = driver().current(&before);
  if (code != CUDA_SUCCESS) check(code, "asking for the current context");
  const Context wanted = primary_context(device);
  if (wanted == before) return before;
  if (const CUresult refused = driver().set_current(wanted)) check(refused, "choosing cuda:" + std::to_string(device));
  return before;
}

Home home_of(const void* address, int device) {
  const OnDevice here(device);
  cudaPointerAttributes found{};
  cuda_check(cudaPointerGetAttributes(&found, address), "asking where an array lies");
  if (found.type != cudaMemoryTypeDevice) return {};
  return {found.device, found.devicePointer != nullptr};
}

void leave_device(Context before) noexcept { driver().set_current(before); }  // fails where nothing of CUDA works any more

}  // namespace hfd
