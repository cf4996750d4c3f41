// What the emulated device is at a moment, and how its streams go on. Included by runtime.cpp alone.
#pragma once

#include "cuda_runtime_api.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

struct Work {
  std::string what;
  std::function<void()> run;
  EmulatedEvent* event = nullptr;  // to wait for, at this generation, before going on
  uint64_t generation = 0;
};

struct EmulatedStream {
  std::deque<Work> queue;
  EmulatedGraph* capture = nullptr;
  int device = 0;
};

struct EmulatedEvent {
  unsigned flags = 0;
  EmulatedStream* stream = nullptr;
  uint64_t recorded = 0, done = 0;
  std::chrono::steady_clock::time_point when;
};

struct EmulatedGraph {
  std::vector<Work> work;
};

namespace {

constexpr int kPoison = 0xA5;
constexpr size_t kTotal = size_t{1} << 33;

enum class Policy { lazy, eager, random, idle };  // idle: nothing is ever done, so that the host's own time can be measured

struct State {
  std::recursive_mutex lock;
  std::set<EmulatedStream*> streams;
  std::map<void*, size_t> device, pinned;
  std::deque<void*> freed;  // pinned memory, kept for a while
  Policy policy = Policy::lazy;
  std::mt19937 random{0};
  cudaError_t last = cudaSuccess;
  std::map<std::string, std::pair<long, cudaError_t>> failing;  // call -> (how many calls from now, what it answers)
  long allocations = 0, kernels = 0, synchronisations = 0, slept = 0, spun = 0, chosen = 0;  // slept, spun: waits for events; chosen: cudaSetDevice
  size_t used = 0, peak = 0, limit = kTotal;
  int devices = 1, driver = 13000;
};

State& state() {
  static State* const only = new State;  // outlives every static destructor
  return *only;
}

// The default streams have numbers for handles: 0 and 1 the legacy one, 2 that of a thread.
EmulatedStream* stream_of(cudaStream_t handle) {
  static EmulatedStream* const usual = [] {
    EmulatedStream* made = new EmulatedStream;
    state().streams.insert(made);
    return made;
  }();
  return reinterpret_cast<uintptr_t>(handle) <= 2 ? usual : handle;
}

thread_local int current_device = 0;

// What works on the calling thread's device refuses the streams of another one.
bool is_current(cudaStream_t stream) { return reinterpret_cast<uintptr_t>(stream) <= 2 || stream->device == current_device; }

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t answer(cudaError_t code) {
  if (code != cudaSuccess) state().last = code;
  return code;
}

// What a test asked this call to answer, once.
cudaError_t injected(const char* call) {
  const auto found = state().failing.find(call);
  if (found == state().failing.end() || found->second.first-- > 0) return cudaSuccess;
  const cudaError_t code = found->second.second;
  state().failing.erase(found);
  return answer(code);
}

void run_one(EmulatedStream* stream);

void run_until(EmulatedEvent* event, uint64_t generation) {
  while (event->done < generation && !event->stream->queue.empty()) run_one(event->stream);
}

void run_one(EmulatedStream* stream) {
  Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (work.event != nullptr) run_until(work.event, work.generation);
  if (work.run) work.run();
}

void run_all(EmulatedStream* stream) {
  while (!stream->queue.empty()) run_one(stream);
}

void run_everything() {
  for (EmulatedStream* stream : state().streams) run_all(stream);
}

void drift() {
  State& now = state();
  if (now.policy == Policy::eager) return run_everything();
  if (now.policy == Policy::lazy) return;
  for (EmulatedStream* stream : now.streams)
    while (!stream->queue.empty() && now.random() % 3 == 0) run_one(stream);
}

void append(EmulatedStream* handle, Work work) {
  if (state().policy == Policy::idle) return;
  EmulatedStream* const stream = stream_of(handle);
  if (stream->capture != nullptr) return stream->capture->work.push_back(std::move(work));
  stream->queue.push_back(std::move(work));
  drift();
}

}  // namespace
