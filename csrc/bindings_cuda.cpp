// hfd_edge._cuda: imports anywhere; without a driver or a GPU it reports zero devices and why.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "bindings_cuda_memory.h"
#include "bindings_cuda_ops.h"
#include "common/cuda_error.h"
#include "common/devices.h"

namespace py = pybind11;

namespace {

std::unique_ptr<hfd::Devices> query() {
  const py::gil_scoped_release released;
  auto found = std::make_unique<hfd::Devices>();
  hfd::query_devices(*found);
  return found;
}

py::dict device_dict(int index, const hfd::Device& device) {
  py::dict record;
  record["index"] = index;
  record["name"] = device.name;
  record["capability"] = py::make_tuple(device.major, device.minor);
  record["memory_bytes"] = device.memory_bytes;
  record["multiprocessors"] = device.multiprocessors;
  record["clock_khz"] = device.clock_khz;
  record["pci_bus_id"] = device.pci_bus_id;
  return record;
}

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// What CUDA does not tell of a forked process, and of a driver of an older major version than the toolkit that made this module.
std::string way_out(const hfd::Devices& found) {
  if (found.error_code == cudaErrorInitializationError) return std::string("; ") + hfd::cuda_way_out(cudaErrorInitializationError);
  if (found.driver_version == 0 || found.driver_version / 1000 >= found.runtime_version / 1000) return "";
  return "; the driver serves CUDA " + version_text(found.driver_version) + " and hfd_edge was built with CUDA " +
         version_text(found.runtime_version) + ": update the driver, or build hfd_edge with a toolkit that it serves";
}

py::dict devices() {
  const auto found = query();
  py::list list;
  for (int index = 0; index < found->count; ++index) list.append(device_dict(index, found->list[index]));
  py::dict answer;
  answer["devices"] = list;
  answer["error"] = py::none();
  if (found->error_name != nullptr) answer["error"] = std::string(found->error_name) + ": " + found->error_text + way_out(*found);
  answer["driver_version"] = found->driver_version;
  answer["runtime_version"] = found->runtime_version;
  return answer;
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA operations of hfd_edge. Addresses and streams are whole numbers; nothing here waits for the device but what says so.";
  module.def("device_count", [] { return query()->count; }, "Usable CUDA devices; 0 without a driver.");
  module.def("devices", &devices, "Devices, driver and run-time version (0 = no driver), and what left the list empty.");
  bind_cuda_memory(module);
  bind_cuda_ops(module);
  bind_cuda_speckle(module);
  bind_cuda_blend(module);
}
