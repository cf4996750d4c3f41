// How a kernel is written here: a record with its arguments whose phases do the work of one thread, with a barrier between two
// phases and nowhere else. nvcc makes a kernel of it; a test compiles the same text for the host, where every thread of a phase runs
// in turn (tests/emulated_cuda), so that indices, bounds and bits are proved without a GPU. What a thread knows ends with its phase:
// what the next one needs is in `Shared`.
//
//   struct Body {
//     static constexpr int kThreads = 256, kPhases = 1, kBlocksPerProcessor = 5;  // the last one bounds the registers
//     using Shared = NoShared;
//     template <int kPhase> HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const;
//   };
//   launch(Body{...}, {blocks, 1, 1}, {device, stream}, "gather");
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/cuda_error.h"
#include "common/cuda_queue.h"
#include "common/host_device.h"
#include "common/on_device.h"

#ifndef __CUDACC__
#include <cstdio>
#include <cstdlib>
#include <memory>
#ifdef HFD_AT_ONCE
#include <cstring>
#include <thread>
#include <vector>
#endif

#include "common/float_env.h"
#endif

namespace hfd {

struct ThreadPlace {
  uint32_t block_x, block_y, block_z, thread;
};

struct Blocks {
  int64_t x, y = 1, z = 1;
};

struct NoShared {};

constexpr int64_t kMostBlocksX = 0x7fffffff, kMostBlocksYz = 65535;

HFD_HD int64_t pieces_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

#ifdef __CUDACC__
template <class T>
HFD_DEVICE void add_atomically(T* to, T value) {
  atomicAdd(to, value);
}

// kBytes at an address that is a multiple of kBytes.
template <int kBytes>
struct WordOf;
template <>
struct WordOf<1> { using Type = uint8_t; };
template <>
struct WordOf<2> { using Type = uint16_t; };
template <>
struct WordOf<4> { using Type = uint32_t; };
template <>
struct WordOf<8> { using Type = uint2; };
template <>
struct WordOf<16> { using Type = uint4; };

template <class T>
HFD_DEVICE void load_wide(const void* from, T& to) {
  using Word = typename WordOf<sizeof(T)>::Type;
  const Word word = *static_cast<const Word*>(from);
  memcpy(&to, &word, sizeof to);
}

template <class T>
HFD_DEVICE void store_wide(const T& from, void* to) {
  using Word = typename WordOf<sizeof(T)>::Type;
  Word word;
  memcpy(&word, &from, sizeof word);
  *static_cast<Word*>(to) = word;
}

template <class Body, int kPhase>
HFD_DEVICE void run_phases(const Body& body, const ThreadPlace& at, typename Body::Shared& shared) {
  body.template run<kPhase>(at, shared);
  if constexpr (kPhase + 1 < Body::kPhases) {
    __syncthreads();
    run_phases<Body, kPhase + 1>(body, at, shared);
  }
}

template <class Body>
__global__ void __launch_bounds__(Body::kThreads, Body::kBlocksPerProcessor) kernel(const __grid_constant__ Body body) {
  __shared__ typename Body::Shared shared;
  run_phases<Body, 0>(body, {blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x}, shared);
}

template <class Body>
void enqueue_kernel(const Body& body, const Blocks& blocks, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(blocks.x), static_cast<unsigned>(blocks.y), static_cast<unsigned>(blocks.z));
  kernel<Body><<<grid, Body::kThreads, 0, stream>>>(body);
}

#else
#include "emulated_launch.h"  // tests/emulated_cuda
#endif

// Enqueues a kernel; asynchronous. Nothing is launched where there is nothing to do: an empty launch is an error of CUDA.
template <class Body>
void launch(const Body& body, const Blocks& blocks, const CudaQueue& queue, const char* what) {
  static_assert(Body::kThreads % 32 == 0 && Body::kThreads * Body::kBlocksPerProcessor <= 1024, "whole warps, and as many as every GPU holds");
  static_assert(sizeof(Body) <= 4096 && sizeof(typename Body::Shared) <= 48 * 1024, "arguments and block memory of every GPU");
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0) return;
  if (blocks.x > kMostBlocksX || blocks.y > kMostBlocksYz || blocks.z > kMostBlocksYz)
    throw std::invalid_argument(std::string(what) + " needs more blocks than a launch can have: cut the image into smaller tiles");
  const OnDevice here(queue.device);
  enqueue_kernel(body, blocks, queue.stream);
  cuda_check(cudaGetLastError(), what);
}

}  // namespace hfd
