// Which CUDA devices are there. Plain records without the standard library: nvcc reads this once per architecture.
#pragma once

namespace hfd {

constexpr int kMaxDevices = 64;

struct Device {
  char name[256];
  char pci_bus_id[32];  // which board it is to other tools, whatever CUDA_VISIBLE_DEVICES says; empty: not told
  int major, minor;  // compute capability
  unsigned long long memory_bytes;
  int multiprocessors;
  int clock_khz;  // highest of the multiprocessors
};

struct Devices {
  int count = 0;
  Device list[kMaxDevices];
  int error_code = 0;
  const char* error_name = nullptr;  // null if the query worked; else count is 0
  const char* error_text = nullptr;
  int driver_version = 0;            // newest CUDA the driver serves, e.g. 13000; 0 = no driver
  int runtime_version = 0;
};

void query_devices(Devices& found);  // never throws: no driver and no GPU are answers

}  // namespace hfd
