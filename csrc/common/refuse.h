// Errors of the native part: the thing, its value, the rule, the way out. Bindings turn them into hfd_edge.errors.ArrayError.
#pragma once

#include <sstream>
#include <stdexcept>

namespace hfd {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

constexpr int kMaxThreads = 1024;

inline void check_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads)
    refuse("threads=", threads, ": it must be 1 to ", kMaxThreads, "; use the number of cores");
}

}  // namespace hfd
