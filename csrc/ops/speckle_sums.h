// Rows of a block in a ring, and the sums of their windows: along each row from left to right, then down the rows from top to
// bottom. The order is the same for every pixel, so the sums do not depend on where a block or a vector begins. Included by one
// file per instruction set: no inline function of another header, nothing with a name outside.
#pragma once

#include "common/lanes.h"
#include "ops/speckle_block.h"
#include "ops/speckle_pixel.h"

namespace hfd {
namespace {

// A stretch of columns of one row, from the image to the ring; whether all of it is valid.
bool load_columns(const float* from, int64_t count, const uint8_t* mask, float* __restrict value) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float raw = float_at(from, i);
    const bool fits = raw >= -kLargestIntensity && raw <= kLargestIntensity;  // not where it is no number
    value[i] = fits ? raw : 0.0f;
    bad |= !fits;
  }
  if (mask == nullptr) return bad == 0;
  for (int64_t i = 0; i < count; ++i) {
    value[i] = mask[i] != 0 ? value[i] : 0.0f;
    bad |= mask[i] == 0;
  }
  return bad == 0;
}

void mark_columns(const float* from, int64_t count, const uint8_t* mask, float* __restrict valid) {
  for (int64_t i = 0; i < count; ++i) {
    const float raw = float_at(from, i);
    valid[i] = raw >= -kLargestIntensity && raw <= kLargestIntensity ? 1.0f : 0.0f;
  }
  if (mask == nullptr) return;
  for (int64_t i = 0; i < count; ++i) valid[i] = mask[i] != 0 ? valid[i] : 0.0f;
}

inline void fill(float* __restrict to, int64_t count, float value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

// sum[x] = value[x] + ... + value[x + 2 R], and of the squares; from the first on, so that sums of rows begin at a vector.
template <int kRadius>
void sum_along(const float* __restrict value, int64_t width, float* __restrict sum, float* __restrict square) {
  for (int64_t x = 0; x + 2 * kRadius < width; x += kLanes) {
    Floats total = load_lanes<Floats>(value + x);
    Floats squares = total * total;
#pragma GCC unroll 16
    for (int d = 1; d <= 2 * kRadius; ++d) {
      const Floats next = load_lanes<Floats>(value + x + d);
      total += next;
      squares += next * next;
    }
    store_lanes(total, sum + x);
    store_lanes(squares, square + x);
  }
}

template <int kRadius>
void count_along(const float* __restrict valid, int64_t width, float* __restrict count) {
  for (int64_t x = 0; x + 2 * kRadius < width; x += kLanes) {
    Floats total = load_lanes<Floats>(valid + x);
#pragma GCC unroll 16
    for (int d = 1; d <= 2 * kRadius; ++d) total += load_lanes<Floats>(valid + x + d);
    store_lanes(total, count + x);
  }
}

// Sums of `rows` arrays, from the first to the last.
void sum_down(const float* const* rows, int64_t count, int64_t width, float* __restrict sum) {
  for (int64_t x = 0; x < width; x += kLanes) {
    Floats total = load_lanes<Floats>(rows[0] + x);
    for (int64_t i = 1; i < count; ++i) total += load_lanes<Floats>(rows[i] + x);
    store_lanes(total, sum + x);
  }
}

template <int kRows>
void sum_both_down(const SpeckleRow* const* rows, int64_t width, const SpeckleScratch& scratch) {
  const float *sums[kRows], *squares[kRows];
  for (int i = 0; i < kRows; ++i) {
    sums[i] = rows[i]->sum;
    squares[i] = rows[i]->square;
  }
  for (int64_t x = 0; x < width; x += kLanes) {
    Floats total = load_lanes<Floats>(sums[0] + x), total_squares = load_lanes<Floats>(squares[0] + x);
#pragma GCC unroll 16
    for (int i = 1; i < kRows; ++i) {
      total += load_lanes<Floats>(sums[i] + x);
      total_squares += load_lanes<Floats>(squares[i] + x);
    }
    store_lanes(total, scratch.sum + x);
    store_lanes(total_squares, scratch.square + x);
  }
}

// One instance per radius, so that the compiler sees how long the sums are.
struct SumLoops {
  void (*along)(const float*, int64_t, float*, float*);
  void (*count)(const float*, int64_t, float*);
  void (*down)(const SpeckleRow* const*, int64_t, const SpeckleScratch&);
};

template <int kRadius>
constexpr SumLoops kSumsOf = {sum_along<kRadius>, count_along<kRadius>, sum_both_down<2 * kRadius + 1>};

SumLoops sum_loops(int64_t radius) {
  switch (radius) {
    case 1: return kSumsOf<1>;
    case 2: return kSumsOf<2>;
    case 3: return kSumsOf<3>;
    case 4: return kSumsOf<4>;
    case 5: return kSumsOf<5>;
    case 6: return kSumsOf<6>;
    default: return kSumsOf<7>;
  }
}

// The block's columns with their halos: `before` of them lie left of the image, `after` right of it.
struct Columns {
  int64_t first, width, before, inside, after;
};

Columns columns_of(const SpecklePlan& plan, const SpeckleBlock& block) {
  const int64_t first = block.col - plan.halo, width = block.cols + 2 * plan.halo, end = first + width;
  const int64_t before = first < 0 ? -first : 0, after = end > block.image.cols ? end - block.image.cols : 0;
  return {first, width, before, width - before - after, after};
}

// What is beside the image: nothing, or copies of its outermost pixels.
void extend(const SpecklePlan& plan, const Columns& columns, float* row) {
  const bool nearest = plan.border == SpeckleBorder::nearest;
  fill(row, columns.before, nearest ? row[columns.before] : 0.0f);
  float* right = row + columns.before + columns.inside;
  fill(right, columns.after, nearest ? right[-1] : 0.0f);
}

void load_row(const SpecklePlan& plan, const SpeckleBlock& block, const Columns& columns, int64_t index, SpeckleRow& row,
              const SpeckleScratch& scratch) {
  const bool outside = index < 0 || index >= block.image.rows;
  const SumLoops sums = sum_loops(plan.sum_radius);
  row.clean = true;
  row.valid = scratch.inside;
  row.count = scratch.inside_count;
  row.rows_inside = 1.0f;
  if (outside && plan.border == SpeckleBorder::mask) {
    row.valid = row.own_valid;
    row.count = row.own_count;
    row.rows_inside = 0.0f;
    float* const all[] = {row.value, row.valid, row.count, row.sum, row.square};
    for (float* const zero : all) fill(zero, columns.width, 0.0f);
    return;
  }
  const int64_t within = index < 0 ? 0 : index < block.image.rows ? index : block.image.rows - 1;
  const int64_t at = within * block.image.cols + columns.first + columns.before;
  const uint8_t* mask = block.mask == nullptr ? nullptr : block.mask + at;
  row.clean = load_columns(block.band + at, columns.inside, mask, row.value + columns.before);
  extend(plan, columns, row.value);
  sums.along(row.value, columns.width, row.sum, row.square);
  if (row.clean) return;
  row.valid = row.own_valid;
  row.count = row.own_count;
  mark_columns(block.band + at, columns.inside, mask, row.valid + columns.before);
  extend(plan, columns, row.valid);
  sums.count(row.valid, columns.width, row.count);
}

// What a row looks like in which everything inside the image is valid.
void prepare(const SpecklePlan& plan, const Columns& columns, SpeckleScratch& scratch) {
  fill(scratch.inside + columns.before, columns.inside, 1.0f);
  extend(plan, columns, scratch.inside);
  sum_loops(plan.sum_radius).count(scratch.inside, columns.width, scratch.inside_count);
  scratch.counted_for = -1.0f;
}

// How many pixels of each window are valid, and one over that, where sums along rows have the filter's radius. Whole numbers:
// however they are found, they are exact.
void count_windows(const SpecklePlan& plan, const SpeckleRow* const* rows, int64_t cols, SpeckleScratch& scratch) {
  const int64_t row_count = 2 * plan.halo + 1;
  const float* counts[kMostRows];
  bool clean = true;
  float inside = 0.0f;
  for (int64_t i = 0; i < row_count; ++i) {
    counts[i] = rows[i]->count;
    clean = clean && rows[i]->clean;
    inside += rows[i]->rows_inside;
  }
  if (clean && inside == scratch.counted_for) return;
  scratch.counted_for = clean ? inside : -1.0f;
  if (clean)
    for (int64_t x = 0; x < cols; ++x) scratch.count[x] = inside * scratch.inside_count[x];
  else
    sum_down(counts, row_count, cols, scratch.count);
  for (int64_t x = 0; x < cols; ++x) scratch.one_over[x] = 1.0f / scratch.count[x];
}

}  // namespace
}  // namespace hfd
