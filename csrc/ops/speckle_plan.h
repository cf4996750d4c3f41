// What the speckle filters' loops of either device are made from.
#pragma once

#include <vector>

#include "ops/speckle.h"

namespace hfd {

// All pixels of the window but its centre, by distance.
struct SpeckleRings {
  explicit SpeckleRings(int radius);
  std::vector<SpeckleTap> taps;
  std::vector<SpeckleRing> rings;
};

// `rings` must live as long as the plan.
SpecklePlan speckle_plan(const SpeckleConfig& config, const SpeckleRings& rings);

}  // namespace hfd
