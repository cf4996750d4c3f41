#include "common/devices.h"

#include <cuda_runtime_api.h>
#include <string.h>

namespace hfd {
namespace {

cudaError_t describe(int index, Device& device) {
  cudaDeviceProp properties;
  const cudaError_t code = cudaGetDeviceProperties(&properties, index);
  if (code != cudaSuccess) return code;
  memcpy(device.name, properties.name, sizeof device.name);
  device.major = properties.major;
  device.minor = properties.minor;
  device.memory_bytes = properties.totalGlobalMem;
  device.multiprocessors = properties.multiProcessorCount;
  // A driver that does not tell these runs kernels all the same.
  if (cudaDeviceGetAttribute(&device.clock_khz, cudaDevAttrClockRate, index) != cudaSuccess) device.clock_khz = 0;
  if (cudaDeviceGetPCIBusId(device.pci_bus_id, sizeof device.pci_bus_id, index) != cudaSuccess) device.pci_bus_id[0] = '\0';
  cudaGetLastError();
  return cudaSuccess;
}

}  // namespace

void query_devices(Devices& found) {
  cudaDriverGetVersion(&found.driver_version);
  cudaRuntimeGetVersion(&found.runtime_version);
  int count = 0;
  cudaError_t code = cudaGetDeviceCount(&count);
  if (count > kMaxDevices) count = kMaxDevices;
  for (int index = 0; code == cudaSuccess && index < count; ++index) code = describe(index, found.list[index]);
  found.count = code == cudaSuccess ? count : 0;
  if (code == cudaSuccess) return;
  found.error_code = code;
  found.error_name = cudaGetErrorName(code);
  found.error_text = cudaGetErrorString(code);
  cudaGetLastError();  // a later call must not report this one
}

}  // namespace hfd
