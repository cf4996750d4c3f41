// Reflection without repeating the edge (reflect-101), in scene coordinates; twin: hfd_edge/tiles/__init__.py::reflect101.
#pragma once

#include <vector>

#include "common/host_device.h"

namespace hfd {

// Index inside 0..size-1 that stands for `index`; period 2 (size - 1), constant for size 1.
HFD_HD int64_t reflect101(int64_t index, int64_t size) {
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1);
  int64_t inside = index % period;
  if (inside < 0) inside += period;
  return inside < size ? inside : period - inside;
}

// A stretch of consecutive outputs whose sources advance by `step` (-1, 0 or 1).
struct Run {
  int64_t at, from, count, step;
};

// The sources of outputs first..first+count-1, cut into as few runs as a left-to-right scan finds.
inline std::vector<Run> reflected_runs(int64_t first, int64_t count, int64_t size) {
  std::vector<Run> runs;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t source = reflect101(first + i, size);
    if (!runs.empty()) {
      Run& run = runs.back();
      const int64_t step = source - (run.from + (run.count - 1) * run.step);
      const bool unit = step >= -1 && step <= 1;
      if (unit && (run.count == 1 || step == run.step)) {
        run.step = step;
        ++run.count;
        continue;
      }
    }
    runs.push_back({i, source, 1, 1});
  }
  return runs;
}

}  // namespace hfd
