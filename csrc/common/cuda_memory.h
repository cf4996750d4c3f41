// Device memory, pinned memory, streams, events and graphs as owners: made in the constructor, given back in the destructor.
// Everything that can fail throws CudaError, with CUDA's name of the failure and the way out.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>

namespace hfd {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const char* what);
  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

// Throws unless `code` is success; `what` says what was wanted. A later call does not see this failure again.
void cuda_check(cudaError_t code, const char* what);

// Makes a device the calling thread's current one, and gives back the one before; where it is that already nothing is set, for setting binds
// the device's primary context, in place of one that its caller made. Throws CudaError.
class OnDevice {
 public:
  explicit OnDevice(int device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool set_ = false;
};

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
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
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
