// What the CUDA operations are given: memory as (address, bytes), a queue as (device, stream), whole numbers all.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "common/cuda_queue.h"
#include "common/refuse.h"

namespace hfd {

using Address = uintptr_t;
using Memory = std::pair<Address, int64_t>;
using Queue = std::pair<int, Address>;

inline CudaQueue queue_of(const Queue& queue) { return {queue.first, reinterpret_cast<cudaStream_t>(queue.second)}; }

// So many T at the memory's beginning; refused where it is smaller or begins askew.
template <class T>
T* at(const Memory& memory, int64_t count, const char* name) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if (memory.second < bytes) refuse(name, " has ", memory.second, " bytes: this call needs ", bytes, "; give more memory");
  if (memory.first % alignof(T) != 0) refuse(name, " begins at an address that is no multiple of ", alignof(T), ": move it");
  return reinterpret_cast<T*>(memory.first);
}

}  // namespace hfd

void bind_cuda_ops(pybind11::module_& module);      // gather, finish, saturated pixels
void bind_cuda_speckle(pybind11::module_& module);  // speckle filters, scene counts
void bind_cuda_blend(pybind11::module_& module);    // blending of overlapping tiles
