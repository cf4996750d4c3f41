// Included by csrc/common/launch.h inside namespace hfd where no CUDA compiler reads it: the threads of a phase run one after the other, forwards
// in one phase and backwards in the next, so that a phase which relies on its neighbours' order comes out wrong; or, with HFD_AT_ONCE, at the
// same time.
template <class T>
inline void add_atomically(T* to, T value) {
#ifdef HFD_AT_ONCE
  __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
#else
  *to += value;
#endif
}

// A GPU refuses an address that is no multiple of the width; a host would not notice.
inline void check_wide(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    std::fprintf(stderr, "misaligned: %zu bytes at %p\n", bytes, address);
    std::abort();
  }
}

template <class T>
inline void load_wide(const void* from, T& to) {
  check_wide(from, sizeof to);
  memcpy(&to, from, sizeof to);
}

template <class T>
inline void store_wide(const T& from, void* to) {
  check_wide(to, sizeof from);
  memcpy(to, &from, sizeof from);
}

template <class Body, int kPhase>
void run_phases(const Body& body, ThreadPlace at, typename Body::Shared& shared) {
  for (uint32_t i = 0; i < Body::kThreads; ++i) {
    at.thread = kPhase % 2 == 0 ? i : Body::kThreads - 1 - i;
    body.template run<kPhase>(at, shared);
  }
  if constexpr (kPhase + 1 < Body::kPhases) run_phases<Body, kPhase + 1>(body, at, shared);
}

template <class Body>
std::unique_ptr<typename Body::Shared> poisoned() {
  auto shared = std::make_unique<typename Body::Shared>();
  memset(static_cast<void*>(shared.get()), 0xA5, sizeof *shared);
  return shared;
}

#ifdef HFD_AT_ONCE
#include "emulated_hands.h"
#endif

template <class Body>
void enqueue_kernel(const Body& body, const Blocks& blocks, cudaStream_t stream) {
  emulated_enqueue(stream, "kernel", [body, blocks] {
#ifdef HFD_AT_ONCE
    run_at_once(body, blocks);
#else
    const FloatEnvironment environment;
    for (uint32_t z = 0; z < blocks.z; ++z)
      for (uint32_t y = 0; y < blocks.y; ++y)
        for (uint32_t x = 0; x < blocks.x; ++x) run_phases<Body, 0>(body, {x, y, z, 0}, *poisoned<Body>());
#endif
  });
}
