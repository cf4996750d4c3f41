// What the emulated device is at a moment, and how its streams go on. Included by driver.cpp and runtime.cpp alone.
#pragma once

#include "cuda.h"
#include "cuda_runtime_api.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#define HFD_SEEN extern "C" __attribute__((visibility("default")))  // what tests ask for, by ctypes

struct Work {
  std::string what;
  std::function<void()> run;
  EmulatedEvent* event = nullptr;  // to wait for, at this generation, before going on
  uint64_t generation = 0;
};

struct CUctx_st {
  int device = 0;
};

struct EmulatedStream {
  std::deque<Work> queue;
  EmulatedGraph* capture = nullptr;
  const CUctx_st* context = nullptr;
};

struct EmulatedEvent {
  unsigned flags = 0;
  const CUctx_st* context = nullptr;
  EmulatedStream* stream = nullptr;
  uint64_t recorded = 0, done = 0;
  std::chrono::steady_clock::time_point when{};
};

struct EmulatedGraph {
  std::vector<Work> work;
};

struct Allocated {
  size_t bytes;
  CUctx_st* context;
};

constexpr int kPoison = 0xA5, kMostDevices = 64;
constexpr size_t kTotal = size_t{1} << 33;

enum class Policy { lazy, eager, random, idle };  // idle: nothing is ever done, so that the host's own time can be measured

struct State {
  std::recursive_mutex lock;
  std::set<EmulatedStream*> streams;
  std::map<void*, Allocated> device;
  std::map<void*, size_t> pinned;
  std::deque<void*> freed;  // pinned memory, kept for a while
  Policy policy = Policy::lazy;
  std::mt19937 random{0};
  cudaError_t last = cudaSuccess;
  std::map<std::string, std::pair<long, cudaError_t>> failing;  // call -> (how many calls from now, what it answers)
  long allocations = 0, kernels = 0, synchronisations = 0, slept = 0, spun = 0;  // slept, spun: waits for events
  size_t used = 0, peak = 0, limit = kTotal;
  int devices = 1, driver = 13000;
  CUctx_st primary[kMostDevices], own[kMostDevices];  // contexts that all share, and those that a caller made for itself alone
  uint64_t contexts = 0;                              // a bit for each device whose primary context was made or chosen
};

inline State& state() {
  static State* const only = [] {  // outlives every static destructor
    State* const made = new State;
    for (int device = 0; device < kMostDevices; ++device) made->primary[device].device = made->own[device].device = device;
    return made;
  }();
  return *only;
}

inline EmulatedStream* new_stream() {
  EmulatedStream* const made = new EmulatedStream;
  state().streams.insert(made);
  return made;
}

// The default streams have numbers for handles: 0 and 1 the legacy one, 2 that of a thread; here they are one.
inline bool is_default(cudaStream_t handle) { return reinterpret_cast<uintptr_t>(handle) <= 2; }

inline EmulatedStream* stream_of(cudaStream_t handle) {
  static EmulatedStream* const usual = new_stream();
  return is_default(handle) ? usual : handle;
}

inline thread_local CUctx_st* bound = nullptr;  // the calling thread's context

inline CUctx_st* primary_context(int device) {
  state().contexts |= uint64_t{1} << device;
  return &state().primary[device];
}

// What the run time works on: a thread without a context gets one on device 0, as nobody here calls cudaSetDevice.
inline CUctx_st* current_context() {
  if (bound == nullptr) bound = primary_context(0);
  return bound;
}

// What works on the calling thread's context refuses the streams of another one.
inline const CUctx_st* context_of(cudaStream_t stream) { return is_default(stream) ? current_context() : stream->context; }
inline bool is_current(cudaStream_t stream) { return context_of(stream) == current_context(); }

using Lock = std::lock_guard<std::recursive_mutex>;

// A call of the run time that works on a context.
struct Call {
  Call() : lock(state().lock) { current_context(); }
  const Lock lock;
};

// The device memory that an address lies in, or null.
inline const Allocated* allocation_at(const void* address) {
  const auto& all = state().device;
  auto after = all.upper_bound(const_cast<void*>(address));
  if (after == all.begin()) return nullptr;
  const auto& [begin, found] = *--after;
  return static_cast<const char*>(address) < static_cast<const char*>(begin) + found.bytes ? &found : nullptr;
}

inline cudaError_t answer(cudaError_t code) {
  if (code != cudaSuccess) state().last = code;
  return code;
}

// What a test asked this call to answer, once.
inline cudaError_t injected(const char* call) {
  const auto found = state().failing.find(call);
  if (found == state().failing.end() || found->second.first-- > 0) return cudaSuccess;
  const cudaError_t code = found->second.second;
  state().failing.erase(found);
  return answer(code);
}

inline void run_one(EmulatedStream* stream);

inline void run_until(EmulatedEvent* event, uint64_t generation) {
  while (event->done < generation && !event->stream->queue.empty()) run_one(event->stream);
}

inline void run_one(EmulatedStream* stream) {
  Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (work.event != nullptr) run_until(work.event, work.generation);
  if (work.run) work.run();
}

inline void run_all(EmulatedStream* stream) {
  while (!stream->queue.empty()) run_one(stream);
}

inline void run_everything() {
  for (EmulatedStream* stream : state().streams) run_all(stream);
}

inline void drift() {
  State& now = state();
  if (now.policy == Policy::eager) return run_everything();
  if (now.policy == Policy::lazy) return;
  for (EmulatedStream* stream : now.streams)
    while (!stream->queue.empty() && now.random() % 3 == 0) run_one(stream);
}

inline void append(EmulatedStream* handle, Work work) {
  if (state().policy == Policy::idle) return;
  EmulatedStream* const stream = stream_of(handle);
  if (stream->capture != nullptr) return stream->capture->work.push_back(std::move(work));
  stream->queue.push_back(std::move(work));
  drift();
}
