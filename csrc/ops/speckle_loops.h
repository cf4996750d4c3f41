// The speckle filters over one block: a ring of rows moves down, and every output row is made from it. Included by one file per
// instruction set: no inline function of another header, nothing with a name outside.
#pragma once

#include "ops/speckle_sums.h"
#include "ops/speckle_window.h"

namespace hfd {
namespace {

// What a filter needs for one output row: the rows of its windows from top to bottom, and how many columns.
struct Here {
  const SpeckleRow* rows[kMostRows];
  int64_t cols;
  bool clean;  // every pixel that is seen lies inside and is valid
};

// The pixels around a vector of them, x columns from the left of the ring: what speckle_window.h takes.
struct RingWindow {
  const SpeckleRow* const* rows;
  int64_t x;
  HFD_HD_ONLY Floats value(int row, int col) const { return load_lanes<Floats>(rows[row]->value + x + col); }
  HFD_HD_ONLY Floats valid(int row, int col) const { return load_lanes<Floats>(rows[row]->valid + x + col); }
  HFD_HD_ONLY RowSums<Floats> three(int row, int col) const {
    const SpeckleRow& from = *rows[row];
    return {load_lanes<Floats>(from.count + x + col), load_lanes<Floats>(from.sum + x + col), load_lanes<Floats>(from.square + x + col)};
  }
};

WindowSums<Floats> sums_at(const SpeckleScratch& scratch, int64_t x) {
  const Floats count = load_lanes<Floats>(scratch.count + x), sum = load_lanes<Floats>(scratch.sum + x);
  return {count, load_lanes<Floats>(scratch.one_over + x), sum, spread_of(count, sum, load_lanes<Floats>(scratch.square + x))};
}

template <SpeckleFilter kFilter>
inline Floats value_of(const WindowSums<Floats>& sums, const Floats& centre, const SpecklePlan& plan) {
  const float cu2 = 1.0f / plan.looks;
  if (kFilter == SpeckleFilter::lee) return lee_value(sums, centre, cu2);
  if (kFilter == SpeckleFilter::kuan) return kuan_value(sums, centre, cu2);
  if (kFilter == SpeckleFilter::enhanced_lee) return enhanced_lee_value(sums, centre, plan.looks);
  if (kFilter == SpeckleFilter::gamma_map) return gamma_map_value(sums, centre, plan.looks);
  if (kFilter == SpeckleFilter::local_enl)
    return local_enl_value(sums, static_cast<float>((2 * plan.radius + 1) * (2 * plan.radius + 1)));
  return mean_of(sums);
}

template <SpeckleFilter kFilter>
void by_sums(const SpecklePlan& plan, const Here& here, const SpeckleScratch& scratch) {
  const float* centre = here.rows[plan.halo]->value + plan.halo;
  for (int64_t x = 0; x < here.cols; x += kLanes)
    store_lanes(value_of<kFilter>(sums_at(scratch, x), load_lanes<Floats>(centre + x), plan), scratch.made + x);
}

void frost(const SpecklePlan& plan, const Here& here, const SpeckleScratch& scratch) {
  for (int64_t x = 0; x < here.cols; x += kLanes)
    store_lanes(frost_value(RingWindow{here.rows, x}, plan, sums_at(scratch, x), here.clean), scratch.made + x);
}

void refined_lee(const SpecklePlan& plan, const Here& here, const SpeckleScratch& scratch) {
  for (int64_t x = 0; x < here.cols; x += kLanes)
    store_lanes(refined_lee_value<Floats>(RingWindow{here.rows, x}, plan.looks), scratch.made + x);
}

void lee_sigma(const SpecklePlan& plan, const SpeckleBlock& block, const Here& here, const SpeckleScratch& scratch) {
  for (int64_t x = 0; x < here.cols; x += kLanes)
    store_lanes(lee_sigma_value<Floats>(RingWindow{here.rows, x}, plan, block.bright, here.clean), scratch.made + x);
}

void make_row(const SpecklePlan& plan, const SpeckleBlock& block, const Here& here, SpeckleScratch& scratch) {
  if (plan.filter == SpeckleFilter::refined_lee) return refined_lee(plan, here, scratch);
  if (plan.filter == SpeckleFilter::lee_sigma) return lee_sigma(plan, block, here, scratch);
  sum_loops(plan.sum_radius).down(here.rows, here.cols, scratch);
  count_windows(plan, here.rows, here.cols, scratch);
  switch (plan.filter) {
    case SpeckleFilter::lee: return by_sums<SpeckleFilter::lee>(plan, here, scratch);
    case SpeckleFilter::kuan: return by_sums<SpeckleFilter::kuan>(plan, here, scratch);
    case SpeckleFilter::enhanced_lee: return by_sums<SpeckleFilter::enhanced_lee>(plan, here, scratch);
    case SpeckleFilter::gamma_map: return by_sums<SpeckleFilter::gamma_map>(plan, here, scratch);
    case SpeckleFilter::frost: return frost(plan, here, scratch);
    case SpeckleFilter::local_enl: return by_sums<SpeckleFilter::local_enl>(plan, here, scratch);
    default: return by_sums<SpeckleFilter::boxcar>(plan, here, scratch);
  }
}

void store_row(const SpecklePlan& plan, const Here& here, const SpeckleScratch& scratch, float* __restrict out) {
  const SpeckleRow& centre = *here.rows[plan.halo];
  memcpy(out, scratch.made, here.cols * sizeof *out);
  if (centre.clean) return;
  for (int64_t x = 0; x < here.cols; ++x) out[x] = centre.valid[plan.halo + x] > 0.0f ? out[x] : __builtin_nanf("");
}

void speckle_block(const SpecklePlan& plan, const SpeckleBlock& block, SpeckleScratch& scratch) {
  const Columns columns = columns_of(plan, block);
  const int64_t seen = 2 * plan.halo + 1;
  prepare(plan, columns, scratch);
  for (int64_t i = 0; i < block.rows + seen - 1; ++i) {
    load_row(plan, block, columns, block.row - plan.halo + i, scratch.ring[i % seen], scratch);
    if (i < seen - 1) continue;
    Here here{{}, block.cols, columns.before + columns.after == 0 || plan.border == SpeckleBorder::nearest};
    for (int64_t k = 0; k < seen; ++k) {
      here.rows[k] = &scratch.ring[(i + 1 + k) % seen];
      here.clean = here.clean && here.rows[k]->clean && here.rows[k]->rows_inside > 0.0f;
    }
    make_row(plan, block, here, scratch);
    store_row(plan, here, scratch, block.out + (i + 1 - seen) * block.out_stride);
  }
}

}  // namespace
}  // namespace hfd
