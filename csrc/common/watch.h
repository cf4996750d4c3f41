// A short wait: looked at again and again, for that is cheaper than to sleep and be woken.
#pragma once

#include <chrono>

namespace hfd {

inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Looks until it holds, for at most so long. Says whether it holds.
template <class Condition>
bool watch(std::chrono::microseconds most, const Condition& holds) {
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + most; !holds();) {
    if (Clock::now() >= end) return false;
    for (int i = 0; i < 16; ++i) pause_briefly();
  }
  return true;
}

}  // namespace hfd
