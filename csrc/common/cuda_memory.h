// Device memory, pinned memory, streams, events and graphs as owners: made in the constructor, given back in the destructor.
// Everything that can fail throws CudaError. Each works on its own device, whatever the calling thread's is, and leaves that as it was.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace hfd {

class DeviceBuffer {
 public:
  DeviceBuffer(int device, size_t bytes);  // not initialised
  ~DeviceBuffer() { release(); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  void release() noexcept;  // twice does nothing; waits for what the device still does
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  int device() const { return device_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
  int device_;
};

// Main memory that the device reads and writes by itself, so that copies run beside everything else.
class PinnedBuffer {
 public:
  PinnedBuffer(int device, size_t bytes);  // every device can use it; it is made through this one
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
  int device_;
};

class Event {
 public:
  Event(int device, bool timing);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream);
  void synchronize() const;  // a short wait is watched, a long one leaves the core to others
  bool done() const;
  float milliseconds_since(const Event& earlier) const;  // both made with timing, recorded and done
  cudaEvent_t handle() const { return event_; }

 private:
  bool reached() const;  // on the device

  cudaEvent_t event_ = nullptr;
  int device_;
};

// What was enqueued while a stream was captured, to be enqueued again as one.
class Graph {
 public:
  explicit Graph(int device) : device_(device) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void begin(cudaStream_t stream);
  void end(cudaStream_t stream);     // after a failed capture too: the stream leaves the capture, and this throws
  void launch(cudaStream_t stream);  // throws std::logic_error before end()

 private:
  cudaGraphExec_t graph_ = nullptr;
  int device_;
};

// A stream of our own; it does not wait for the default stream.
class Stream {
 public:
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t handle() const { return stream_; }
  int device() const { return device_; }

 private:
  cudaStream_t stream_ = nullptr;
  int device_;
};

struct MemoryInfo {
  size_t free, total;
};
MemoryInfo memory_info(int device);

}  // namespace hfd
