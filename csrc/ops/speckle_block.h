// What one worker of the speckle filters is given: plain records, see row_loops.h.
#pragma once

#include "common/views.h"

namespace hfd {

enum class SpeckleFilter : int32_t {
  boxcar, lee, kuan, enhanced_lee, gamma_map, frost, refined_lee, lee_sigma,
  local_enl,  // no filter: log2 of the looks, NaN where the window is not whole
};

enum class SpeckleBorder : int32_t {
  mask,     // what lies outside is not valid
  nearest,  // what lies outside is the nearest pixel, as Orfeo ToolBox has it
};

constexpr int kLargestRadius = 7;
constexpr int kMostRows = 2 * kLargestRadius + 1;

// A pixel of the window, rows and columns from its upper left corner.
struct SpeckleTap {
  int32_t row, col;
};

// Taps of one distance from the centre.
struct SpeckleRing {
  float distance;
  int32_t begin, end;
};

struct SpecklePlan {
  SpeckleFilter filter;
  SpeckleBorder border;
  int64_t halo;        // how far a pixel sees
  int64_t sum_radius;  // of the sums along a row
  int64_t radius;      // of the filter's window
  float looks, damping;
  float low, high, noise2;  // improved Lee sigma: range and squared variation of the truncated speckle
  const SpeckleTap* taps;   // by distance, then row by row
  const SpeckleRing* rings;
  int64_t ring_count;
};

// One rectangle of one band.
struct SpeckleBlock {
  const float* band;    // of the whole image, C order
  const uint8_t* mask;  // of the whole image, nonzero = valid, or null
  Size image;
  int64_t row, rows, col, cols;
  float bright;         // scene-wide 98th percentile, for improved Lee sigma
  float* out;           // where the block's first pixel goes
  int64_t out_stride;
};

// One row of the ring, columns from col - halo on, what is not valid being 0. Where everything inside the image is valid,
// `valid` and `count` are the block's own `inside` and `inside_count`. sum, square and count are of the windows along the row
// that begin at each column.
struct SpeckleRow {
  float *value, *valid, *sum, *square, *count;
  float *own_valid, *own_count;
  bool clean;
  float rows_inside;  // 1, or 0 outside the image
};

// Memory of one worker: each array holds a block's columns, two halos and a vector more.
struct SpeckleScratch {
  SpeckleRow ring[kMostRows];
  float *inside, *inside_count;           // of a row in which everything is valid
  float *sum, *square, *count, *one_over;  // of the windows of one output row
  float* made;
  float counted_for;                      // the sum of rows_inside that `count` was made for; -1 = none
};

constexpr int64_t kSpeckleSlack = 64;

using SpeckleBlockLoop = void (*)(const SpecklePlan&, const SpeckleBlock&, SpeckleScratch&);

}  // namespace hfd
