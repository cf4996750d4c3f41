// Speckle filters on linear intensity. The result at a pixel depends on its window alone: the same bits for any block, tile,
// thread count and instruction set.
#pragma once

#include <string>
#include <vector>

#include "ops/speckle_block.h"

namespace hfd {

struct SpeckleConfig {
  SpeckleFilter filter;
  SpeckleBorder border;
  int radius;                // 1 to 7; refined Lee: 3
  float looks;               // equivalent number of looks, any real number above 0
  float damping;             // Frost
  float low, high, noise2;   // improved Lee sigma, see hfd_edge/speckle/range.py
};

struct SpeckleCall {
  const float* values;       // (bands, rows, cols), C order
  int64_t bands;
  Size size;
  const uint8_t* mask;       // (rows, cols), nonzero = valid, or null; what is no number or beyond 1e16 never is
  std::vector<float> bright;  // per band: improved Lee sigma
  int64_t first_row, rows;   // which rows to make; windows see all
  float* out;                // (bands, rows, cols), C order
  int threads;
};

SpeckleFilter speckle_filter_from_name(const std::string& name);
SpeckleBorder speckle_border_from_name(const std::string& name);
int64_t speckle_halo(SpeckleFilter filter, int radius);

void check_speckle(const SpeckleConfig& config, const SpeckleCall& call);  // throws std::invalid_argument

// Check, and the loops of the CPU. NaN comes out where a pixel is not valid.
void speckle(const SpeckleConfig& config, const SpeckleCall& call);

// The loops; config and call have been checked.
void speckle_cpu(const SpeckleConfig& config, const SpeckleCall& call);

}  // namespace hfd
