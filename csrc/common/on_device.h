// Where CUDA works: on the context that is current on the calling thread, which its caller (torch, CuPy, PyCUDA) may have chosen.
#pragma once

struct CUctx_st;

namespace hfd {

using Context = CUctx_st*;  // CUcontext of cuda.h

// Makes a device's primary context, the one that all libraries share, current on the calling thread; gives the one that was, null = none.
// No other device gets a context. Throws CudaError.
Context enter_device(int device);

// What was current before; none is that, too. The run time cannot say so: cudaSetDevice(0) would make a context on cuda:0.
void leave_device(Context before) noexcept;

// Where device memory of any library lies.
struct Home {
  int device = -1;      // -1: it is none, but main memory or managed memory, which all devices reach
  bool reached = true;  // from the primary context of the device that asks, and so by hfd_edge
};
Home home_of(const void* address, int device);  // asked by a device, whichever it is on; throws CudaError

class OnDevice {
 public:
  explicit OnDevice(int device) : before_(enter_device(device)) {}
  ~OnDevice() { leave_device(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  Context before_;
};

}  // namespace hfd
