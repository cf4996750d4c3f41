// Work shared between the calling thread and the helpers of the pool (thread_pool.h), the only place that starts threads. Work
// items are independent and owned by one worker each, so the bytes written do not depend on the number of threads. Scratch memory
// is made before: an exception must not leave a body.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "common/float_env.h"
#include "common/thread_pool.h"

namespace hfd {

// Calls body(worker, item) for every item in 0..count-1; 0 <= worker < threads, and 0 is the caller. Items are handed out in small
// chunks, and the caller begins at once: a helper that sleeps takes longer to wake up (0.15 ms on a virtual machine) than half a
// tile takes, and whoever comes too late finds nothing left.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  const int64_t chunk = count / (16 * static_cast<int64_t>(threads)) + 1;
  std::atomic<int64_t> next{0};
  const auto work = [&](int worker) {
    const FloatEnvironment environment;
    for (int64_t first; (first = next.fetch_add(chunk, std::memory_order_relaxed)) < count;)
      for (int64_t item = first, end = std::min(first + chunk, count); item < end; ++item) body(worker, item);
  };
  if (threads <= 1 || count <= 1) return work(0);
  run_shared({[](const void* context, int worker) { (*static_cast<const decltype(work)*>(context))(worker); }, &work},
             threads - 1);
}

}  // namespace hfd
