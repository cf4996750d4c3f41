// Included by emulated_launch.h inside namespace hfd where HFD_AT_ONCE is set: the threads of a block, or the blocks of a launch, are dealt to
// four threads of the host that work at the same time, so that the thread sanitizer sees what two of them touch without a barrier between.
constexpr uint32_t kHands = 4, kDigits = 5;

// Who does number `number`: a digit of it to base 4. Any two numbers below 4^kDigits go to different hands for one digit at least.
inline bool is_dealt(uint64_t number, uint32_t digit, uint32_t hand) { return (number >> 2 * digit) % kHands == hand; }

template <class Work>
void by_all_hands(const Work& work) {
  std::vector<std::thread> hands;
  for (uint32_t hand = 0; hand < kHands; ++hand)
    hands.emplace_back([&work, hand] {
      const FloatEnvironment environment;
      work(hand);
    });
  for (std::thread& each : hands) each.join();
}

template <class Body, int kPhase>
void run_dealt(const Body& body, ThreadPlace at, typename Body::Shared& shared, uint32_t digit, uint32_t hand) {
  for (at.thread = 0; at.thread < Body::kThreads; ++at.thread)
    if (is_dealt(at.thread, digit, hand)) body.template run<kPhase>(at, shared);
}

// Two controls, by name in the environment: "barriers" are forgotten, or all hands do the same "blocks".
inline bool is_broken(const char* what) {
  const char* const broken = std::getenv("HFD_BROKEN");
  return broken != nullptr && std::strcmp(broken, what) == 0;
}

template <class Body, int kPhase>
void run_without_barriers(const Body& body, const ThreadPlace& at, typename Body::Shared& shared, uint32_t digit, uint32_t hand) {
  run_dealt<Body, kPhase>(body, at, shared, digit, hand);
  if constexpr (kPhase + 1 < Body::kPhases) run_without_barriers<Body, kPhase + 1>(body, at, shared, digit, hand);
}

template <class Body, int kPhase>
void run_threads_at_once(const Body& body, const ThreadPlace& at, typename Body::Shared& shared, uint32_t digit) {
  if (is_broken("barriers")) return by_all_hands([&](uint32_t hand) { run_without_barriers<Body, 0>(body, at, shared, digit, hand); });
  by_all_hands([&](uint32_t hand) { run_dealt<Body, kPhase>(body, at, shared, digit, hand); });
  if constexpr (kPhase + 1 < Body::kPhases) run_threads_at_once<Body, kPhase + 1>(body, at, shared, digit);
}

// Every second launch sets the blocks beside each other, the others the threads of each block.
template <class Body>
void run_at_once(const Body& body, const Blocks& blocks) {
  static uint32_t launches = 0;
  const uint32_t digit = launches / 2 % kDigits;
  const int64_t count = blocks.x * blocks.y * blocks.z;
  const auto place = [&](int64_t i) {
    return ThreadPlace{static_cast<uint32_t>(i % blocks.x), static_cast<uint32_t>(i / blocks.x % blocks.y), static_cast<uint32_t>(i / blocks.x / blocks.y), 0};
  };
  if (launches++ % 2 == 0)
    for (int64_t i = 0; i < count; ++i) {
      const auto shared = poisoned<Body>();
      run_threads_at_once<Body, 0>(body, place(i), *shared, digit);
    }
  else
    by_all_hands([&](uint32_t hand) {
      for (int64_t i = 0; i < count; ++i)
        if (is_broken("blocks") || is_dealt(i, digit, hand)) run_phases<Body, 0>(body, place(i), *poisoned<Body>());
    });
}
