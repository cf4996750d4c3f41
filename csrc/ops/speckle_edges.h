// Parts of the filters that look at single pixels of the window: the half window along an edge of refined Lee, the bright
// targets of improved Lee sigma. Included by one file per instruction set: no inline function of another header, nothing with a
// name outside.
#pragma once

#include "common/lanes.h"
#include "ops/speckle_block.h"
#include "ops/speckle_pixel.h"

namespace hfd {
namespace {

// Sums of a 3 x 3 window from the sums along its rows; `at` is its first column in the ring.
inline WindowSums<Floats> sums_3x3(const SpeckleRow* const* rows, int64_t at) {
  Floats count{}, sum{}, square{};
  for (int i = 0; i < 3; ++i) {
    count += load_lanes<Floats>(rows[i]->count + at);
    sum += load_lanes<Floats>(rows[i]->sum + at);
    square += load_lanes<Floats>(rows[i]->square + at);
  }
  return {count, 1.0f / count, sum, spread_of(count, sum, square)};
}

// Sums over some pixels of a window: all are added once, and then, for the spread, once more as differences from their mean, so
// that a spread much smaller than the mean keeps its digits.
struct PickedSums {
  Floats count, sum, mean, difference, square;
  void add(const Floats& value, const Ints& taken) {
    count += taken ? every<Floats>(1.0f) : Floats{};
    sum += taken ? value : Floats{};
  }
  void add_again(const Floats& value, const Ints& taken) {
    const Floats apart = taken ? value - mean : Floats{};
    difference += apart;
    square += apart * apart;
  }
  WindowSums<Floats> result() const { return {count, 1.0f / count, sum, spread_of(count, difference, square)}; }
};

// Sums over the pixels of rows and columns first to last for which taken(row, column, value) holds.
template <class Taken>
inline WindowSums<Floats> picked_sums(const SpeckleRow* const* rows, int64_t x, int first, int last, const Taken& taken) {
  PickedSums sums{};
  for (int i = first; i <= last; ++i)
    for (int j = first; j <= last; ++j) {
      const Floats value = load_lanes<Floats>(rows[i]->value + x + j);
      sums.add(value, taken(i, j, value));
    }
  sums.mean = sums.sum / sums.count;
  for (int i = first; i <= last; ++i)
    for (int j = first; j <= last; ++j) {
      const Floats value = load_lanes<Floats>(rows[i]->value + x + j);
      sums.add_again(value, taken(i, j, value));
    }
  return sums.result();
}

inline Floats magnitude(const Floats& value) { return value < 0.0f ? -value : value; }

// The four edge directions of refined Lee: three 3 x 3 blocks against three opposite ones, and the middle one of either side.
struct EdgeDirection {
  int first[3], second[3], near, far;
};
constexpr EdgeDirection kDirections[4] = {
    {{0, 3, 6}, {2, 5, 8}, 3, 5}, {{0, 1, 2}, {6, 7, 8}, 1, 7}, {{0, 1, 3}, {5, 7, 8}, 0, 8}, {{1, 2, 5}, {3, 6, 7}, 2, 6}};

// Whether a pixel (rows y, columns x from the centre) lies in each of the eight half windows: bit 2 * direction + side.
constexpr uint32_t halves_of(int y, int x) {
  return (x <= 0 ? 1u : 0u) | (x >= 0 ? 2u : 0u) | (y <= 0 ? 4u : 0u) | (y >= 0 ? 8u : 0u) | (y + x <= 0 ? 16u : 0u) |
         (y + x >= 0 ? 32u : 0u) | (y - x <= 0 ? 64u : 0u) | (y - x >= 0 ? 128u : 0u);
}

// The half window to use, per pixel, as its bit: along the strongest edge, on the side that is more like the centre.
inline Unsigneds chosen_half(const SpeckleRow* const* rows, int64_t x) {
  Floats means[9];
  means[4] = mean_of(sums_3x3(rows + 2, x + 2));
#pragma GCC unroll 9
  for (int b = 0; b < 9; ++b) {
    if (b == 4) continue;
    const WindowSums<Floats> block = sums_3x3(rows + 2 * (b / 3), x + 2 * (b % 3));
    means[b] = block.count > 0.0f ? mean_of(block) : means[4];
  }
  Floats strongest = every<Floats>(-1.0f);
  Unsigneds half{};
#pragma GCC unroll 4
  for (int d = 0; d < 4; ++d) {
    const EdgeDirection& edge = kDirections[d];
    const Floats strength = magnitude((means[edge.first[0]] + means[edge.first[1]] + means[edge.first[2]]) -
                                      (means[edge.second[0]] + means[edge.second[1]] + means[edge.second[2]]));
    const Ints near_side = magnitude(means[edge.near] - means[4]) <= magnitude(means[edge.far] - means[4]);
    const Unsigneds bit = near_side ? Unsigneds{} + (1u << (2 * d)) : Unsigneds{} + (2u << (2 * d));
    const Ints wins = strength > strongest;
    half = wins ? bit : half;
    strongest = wins ? strength : strongest;
  }
  return half;
}

inline WindowSums<Floats> half_window(const SpeckleRow* const* rows, int64_t x, const Unsigneds& half) {
  return picked_sums(rows, x, 0, 6, [&](int i, int j, const Floats&) {
    return ((half & halves_of(i - 3, j - 3)) != 0u) & (load_lanes<Floats>(rows[i]->valid + x + j) > 0.0f);
  });
}

// Pixels above `bright` with, in their 3 x 3, one above it that has more than five such pixels in its own. `at` is the upper
// left of the 5 x 5 pixels around the first one.
inline Ints bright_targets(const SpeckleRow* const* rows, int64_t at, float bright) {
  Ints is_bright[5][5], target{};
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j) is_bright[i][j] = load_lanes<Floats>(rows[i]->value + at + j) > bright;
  for (int i = 1; i < 4; ++i)
    for (int j = 1; j < 4; ++j) {
      Ints minus_count{};
      for (int y = -1; y < 2; ++y)
        for (int x = -1; x < 2; ++x) minus_count += is_bright[i + y][j + x];  // a mask is -1
      target |= is_bright[i][j] & (minus_count < -5);
    }
  return target & is_bright[2][2];
}

}  // namespace
}  // namespace hfd
