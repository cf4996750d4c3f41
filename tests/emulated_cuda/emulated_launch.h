// Included by csrc/common/launch.h inside namespace hfd where no CUDA compiler reads it: the threads of a phase run one after the other, forwards
// in one phase and backwards in the next, so that a phase which relies on its neighbours' order comes out wrong.
template <class T>
inline void add_atomically(T* to, T value) {
  *to += value;
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
void enqueue_kernel(const Body& body, const Blocks& blocks, cudaStream_t stream) {
  emulated_enqueue(stream, "kernel", [body, blocks] {
    const FloatEnvironment environment;
    const auto shared = std::make_unique<typename Body::Shared>();
    for (uint32_t z = 0; z < blocks.z; ++z)
      for (uint32_t y = 0; y < blocks.y; ++y)
        for (uint32_t x = 0; x < blocks.x; ++x) {
          memset(static_cast<void*>(shared.get()), 0xA5, sizeof *shared);
          run_phases<Body, 0>(body, {x, y, z, 0}, *shared);
        }
  });
}
