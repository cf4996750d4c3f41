// What the speckle filters accept; the loops are in speckle_cpu.cpp and speckle_cuda.cu.
#include "ops/speckle_plan.h"

#include <algorithm>
#include <cmath>

#include "common/refuse.h"

namespace hfd {
namespace {

constexpr const char* kFilterNames[] = {"boxcar", "lee", "kuan", "enhanced_lee", "gamma_map",
                                        "frost", "refined_lee", "lee_sigma", "local_enl"};

void check_config(const SpeckleConfig& config) {
  if (config.radius < 1 || config.radius > kLargestRadius)
    refuse("radius=", config.radius, ": it must be 1 to ", kLargestRadius, ", for windows of 3 x 3 to 15 x 15");
  if (config.filter == SpeckleFilter::refined_lee && config.radius != 3)
    refuse("radius=", config.radius, " for refined_lee: its window is 7 x 7; use 3");
  if (!(config.looks > 0.0f) || !std::isfinite(config.looks))
    refuse("looks=", config.looks, ": it must be finite and above 0; see estimate_enl");
  if (!(config.damping >= 0.0f) || !std::isfinite(config.damping))
    refuse("damping=", config.damping, ": it must be finite and not below 0");
}

}  // namespace

SpeckleFilter speckle_filter_from_name(const std::string& name) {
  for (int i = 0; i < 9; ++i)
    if (name == kFilterNames[i]) return static_cast<SpeckleFilter>(i);
  refuse("filter='", name, "': use one of boxcar, lee, kuan, enhanced_lee, gamma_map, frost, refined_lee, lee_sigma");
}

SpeckleBorder speckle_border_from_name(const std::string& name) {
  if (name == "mask") return SpeckleBorder::mask;
  if (name == "nearest") return SpeckleBorder::nearest;
  refuse("border='", name, "': use mask (what lies outside is not valid) or nearest (it is the nearest pixel)");
}

int64_t speckle_halo(SpeckleFilter filter, int radius) {
  return filter == SpeckleFilter::lee_sigma ? std::max(radius, 2) : radius;
}

void check_speckle(const SpeckleConfig& config, const SpeckleCall& call) {
  check_config(config);
  check_threads(call.threads);
  if (call.bands < 1 || call.size.rows < 1 || call.size.cols < 1)
    refuse("values of ", call.bands, " bands of ", call.size.rows, " x ", call.size.cols, ": there must be at least one pixel");
  if (call.first_row < 0 || call.rows < 1 || call.first_row + call.rows > call.size.rows)
    refuse("rows ", call.first_row, " to ", call.first_row + call.rows - 1, " of ", call.size.rows, ": they must lie inside");
  if (config.filter == SpeckleFilter::lee_sigma && static_cast<int64_t>(call.bright.size()) != call.bands)
    refuse("bright has ", call.bright.size(), " values for ", call.bands, " bands: give the scene's 98th percentile of each");
}

SpeckleRings::SpeckleRings(int radius) {
  for (int squared = 1; squared <= 2 * radius * radius; ++squared) {
    const int32_t begin = static_cast<int32_t>(taps.size());
    for (int y = -radius; y <= radius; ++y)
      for (int x = -radius; x <= radius; ++x)
        if (y * y + x * x == squared) taps.push_back({y + radius, x + radius});
    const int32_t end = static_cast<int32_t>(taps.size());
    if (end > begin) rings.push_back({static_cast<float>(std::sqrt(static_cast<double>(squared))), begin, end});
  }
}

SpecklePlan speckle_plan(const SpeckleConfig& config, const SpeckleRings& rings) {
  const bool looks_closer = config.filter == SpeckleFilter::refined_lee || config.filter == SpeckleFilter::lee_sigma;
  return {config.filter, config.border, speckle_halo(config.filter, config.radius), looks_closer ? 1 : config.radius,
          config.radius, config.looks, config.damping, config.low, config.high, config.noise2,
          rings.taps.data(), rings.rings.data(), static_cast<int64_t>(rings.rings.size())};
}

}  // namespace hfd
