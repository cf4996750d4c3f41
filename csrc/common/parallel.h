// The only place that starts threads. Work items are independent and owned by one worker each, so the bytes written do not depend
// on the number of threads. Scratch memory is made before the region: an exception must not leave it.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "common/float_env.h"

namespace hfd {

// Calls body(worker, item) for every item in 0..count-1; 0 <= worker < threads. Items are handed out in small chunks: a thread
// that slept takes longer to wake up (0.15 ms on a virtual machine) than half a tile takes, and its share must not wait for it.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
#ifdef _OPENMP
  const int64_t chunk = count / (16 * threads) + 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const FloatEnvironment environment;
    const int worker = omp_get_thread_num();
#pragma omp for schedule(dynamic, chunk)
    for (int64_t item = 0; item < count; ++item) body(worker, item);
  }
#else
  (void)threads;
  const FloatEnvironment environment;
  for (int64_t item = 0; item < count; ++item) body(0, item);
#endif
}

}  // namespace hfd
