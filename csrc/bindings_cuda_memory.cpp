// Device memory, streams, events and graphs: convert, release the GIL, call. Streams and addresses are whole numbers.
#include "bindings_cuda_memory.h"

#include <cstdint>
#include <string>
#include <utility>

#include "bindings_cuda_ops.h"
#include "common/cuda_error.h"
#include "common/cuda_memory.h"
#include "common/on_device.h"

namespace py = pybind11;

namespace {

using hfd::Address, hfd::Queue, hfd::queue_of;
using Unlocked = py::call_guard<py::gil_scoped_release>;

cudaStream_t stream_at(Address handle) { return reinterpret_cast<cudaStream_t>(handle); }
template <class T>
Address address_of(T* pointer) {
  return reinterpret_cast<Address>(pointer);
}

// Memory of the caller, C order; it must stay until the stream has done the copy.
std::pair<void*, size_t> host_memory(const py::buffer& array, bool writable) {
  const py::buffer_info info = array.request(writable);
  py::ssize_t expected = info.itemsize;
  for (py::ssize_t axis = info.ndim; axis-- > 0;) {
    if (info.shape[axis] > 1 && info.strides[axis] != expected)
      throw std::invalid_argument("host memory for a copy must be in C order: give a contiguous array, e.g. np.ascontiguousarray");
    expected *= info.shape[axis];
  }
  return {info.ptr, static_cast<size_t>(info.size * info.itemsize)};
}

// Calls `enqueue` with a queue's stream, on its device.
template <class Enqueue>
void on(const Queue& queue, const char* what, const Enqueue& enqueue) {
  const py::gil_scoped_release released;
  const auto [device, stream] = queue_of(queue);
  const hfd::OnDevice here(device);
  hfd::cuda_check(enqueue(stream), what);
}

void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, const Queue& queue, const char* what) {
  if (bytes > 0) on(queue, what, [=](cudaStream_t stream) { return cudaMemcpyAsync(to, from, bytes, kind, stream); });
}

void copy_in(Address to, const py::buffer& from, const Queue& queue) {
  const auto [data, bytes] = host_memory(from, false);
  copy(reinterpret_cast<void*>(to), data, bytes, cudaMemcpyHostToDevice, queue, "copying to the device");
}

void copy_out(const py::buffer& to, Address from, const Queue& queue) {
  const auto [data, bytes] = host_memory(to, true);
  copy(data, reinterpret_cast<const void*>(from), bytes, cudaMemcpyDeviceToHost, queue, "copying from the device");
}

void copy_on_device(Address to, Address from, size_t bytes, const Queue& queue) {
  copy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes, cudaMemcpyDeviceToDevice, queue, "copying on the device");
}

void copy_rows(Address to, size_t to_stride, Address from, size_t from_stride, std::pair<size_t, size_t> row_bytes_and_rows,
               const Queue& queue) {
  const size_t row_bytes = row_bytes_and_rows.first, rows = row_bytes_and_rows.second;
  if (row_bytes == 0 || rows == 0) return;
  on(queue, "copying rows", [=](cudaStream_t stream) {
    return cudaMemcpy2DAsync(reinterpret_cast<void*>(to), to_stride, reinterpret_cast<const void*>(from), from_stride, row_bytes, rows,
                             cudaMemcpyDefault, stream);
  });
}

void fill(Address to, int byte, size_t bytes, const Queue& queue) {
  if (bytes == 0) return;
  on(queue, "filling device memory", [=](cudaStream_t stream) { return cudaMemsetAsync(reinterpret_cast<void*>(to), byte, bytes, stream); });
}

void synchronize(const Queue& queue) { on(queue, "waiting for a stream", cudaStreamSynchronize); }

void wait_event(const Queue& queue, Address event) {
  on(queue, "waiting for an event", [=](cudaStream_t stream) { return cudaStreamWaitEvent(stream, reinterpret_cast<cudaEvent_t>(event), 0); });
}

py::buffer_info pinned_bytes(hfd::PinnedBuffer& pinned) {
  return {static_cast<uint8_t*>(pinned.data()), static_cast<py::ssize_t>(pinned.bytes())};
}

void bind_buffers(py::module_& module) {
  using namespace py::literals;
  py::class_<hfd::DeviceBuffer>(module, "DeviceBuffer", "Memory on a device, not initialised; free() gives it back.", py::module_local())
      .def(py::init<int, size_t>(), "device"_a, "nbytes"_a, Unlocked())
      .def("free", &hfd::DeviceBuffer::release, "Give the memory back; waits for the device. Twice does nothing.", Unlocked())
      .def_property_readonly("ptr", [](const hfd::DeviceBuffer& b) { return address_of(b.data()); })
      .def_property_readonly("nbytes", &hfd::DeviceBuffer::bytes)
      .def_property_readonly("device", &hfd::DeviceBuffer::device);
  py::class_<hfd::PinnedBuffer>(module, "PinnedBuffer", py::buffer_protocol(), py::module_local(),
                                "Main memory that devices copy from and to beside everything else; np.frombuffer(it, dtype).")
      .def(py::init<int, size_t>(), "device"_a, "nbytes"_a, Unlocked())
      .def_buffer(&pinned_bytes)
      .def_property_readonly("ptr", [](const hfd::PinnedBuffer& b) { return address_of(b.data()); })
      .def_property_readonly("nbytes", &hfd::PinnedBuffer::bytes);
}

void bind_streams(py::module_& module) {
  using namespace py::literals;
  using hfd::Event, hfd::Graph, hfd::Stream;
  py::class_<Event>(module, "Event", "A mark in a stream's order.", py::module_local())
      .def(py::init<int, bool>(), "device"_a, "timing"_a = false, Unlocked())
      .def("record", [](Event& e, Address stream) { e.record(stream_at(stream)); }, "stream"_a, Unlocked())
      .def("synchronize", &Event::synchronize, "Wait until the device has come here.", Unlocked())
      .def("done", &Event::done, "Whether the device has come here.", Unlocked())
      .def("milliseconds_since", &Event::milliseconds_since, "earlier"_a, Unlocked())
      .def_property_readonly("handle", [](const Event& e) { return address_of(e.handle()); });
  py::class_<Stream>(module, "Stream", "A stream that does not wait for the default one.", py::module_local())
      .def(py::init<int>(), "device"_a, Unlocked())
      .def_property_readonly("handle", [](const Stream& s) { return address_of(s.handle()); })
      .def_property_readonly("device", &Stream::device);
  py::class_<Graph>(module, "Graph", "What a stream was given while it was captured, to be enqueued again.", py::module_local())
      .def(py::init<int>(), "device"_a)
      .def("begin", [](Graph& g, Address stream) { g.begin(stream_at(stream)); }, "stream"_a, Unlocked())
      .def("end", [](Graph& g, Address stream) { g.end(stream_at(stream)); }, "stream"_a, Unlocked())
      .def("launch", [](Graph& g, Address stream) { g.launch(stream_at(stream)); }, "stream"_a, Unlocked());
  module.def("synchronize", &synchronize, "queue"_a, "Wait until a stream has done everything.");
  module.def("wait_event", &wait_event, "queue"_a, "event"_a,
             "What is enqueued from now on waits for an event of another stream; the host does not.");
}

void raise_device_error(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const hfd::CudaError& error) {
    py::set_error(py::module_::import("hfd_edge.errors").attr("DeviceError"), error.what());
  } catch (const std::invalid_argument& error) {
    py::set_error(py::module_::import("hfd_edge.errors").attr("ArrayError"), error.what());
  }
}

}  // namespace

void bind_cuda_memory(py::module_& module) {
  using namespace py::literals;
  py::register_local_exception_translator(raise_device_error);
  bind_buffers(module);
  bind_streams(module);
  module.def("copy_in", &copy_in, "to"_a, "host"_a, "queue"_a, "Host memory to a device address, in the stream's order.");
  module.def("copy_out", &copy_out, "host"_a, "address"_a, "queue"_a, "Device memory to the host, in the stream's order.");
  module.def("copy_on_device", &copy_on_device, "to"_a, "address"_a, "nbytes"_a, "queue"_a);
  module.def("copy_rows", &copy_rows, "to"_a, "to_stride"_a, "address"_a, "from_stride"_a, "row_bytes_and_rows"_a, "queue"_a,
             "Rows between two pitches, host (pinned) or device on either side, in the stream's order.");
  module.def("fill", &fill, "to"_a, "byte"_a, "nbytes"_a, "queue"_a);
  module.def("enter_device", [](int device) { return address_of(hfd::enter_device(device)); }, "device"_a,
             "Make a device's primary context the calling thread's current one; gives the one before, 0 = none.", Unlocked());
  module.def("leave_device", [](Address before) { hfd::leave_device(reinterpret_cast<hfd::Context>(before)); }, "before"_a,
             "Make what enter_device gave the calling thread's current context again.", Unlocked());
  module.def("home_of", [](Address address, int device) {
    const hfd::Home home = hfd::home_of(reinterpret_cast<const void*>(address), device);
    return std::make_pair(home.device, home.reached);
  }, "address"_a, "device"_a, "Which device's memory an address is, -1 = none's, and whether `device` reaches it.",
             Unlocked());
  module.def("memory_info", [](int device) {
    const hfd::MemoryInfo info = hfd::memory_info(device);
    return std::make_pair(info.free, info.total);
  }, "device"_a, "(free, total) bytes of a device.");
}
