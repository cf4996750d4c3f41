// The filters that look at single pixels of their window, for both compilers: Frost's rings, the half window along an edge of refined
// Lee, the range and the bright targets of improved Lee sigma. A Window gives, for one pixel or a vector of them, what lies `row` rows
// and `col` columns from the upper left corner of all that is seen: value(row, col) and valid(row, col), and three(row, col), the sums of
// the three pixels that begin there along the row; a Plan is a SpecklePlan, or the parts of one that are read. Nothing with a name outside, see row_loops.h.
#pragma once

#include "ops/speckle_block.h"
#include "ops/speckle_pixel.h"

namespace hfd {
namespace {

template <class T>
struct RowSums {
  T count, sum, square;
};

template <class T, class Window>
HFD_HD WindowSums<T> sums_3x3(const Window& window, int row, int col) {
  T count{}, sum{}, square{};
  HFD_UNROLL
  for (int i = 0; i < 3; ++i) {
    const RowSums<T> three = window.three(row + i, col);
    count += three.count;
    sum += three.sum;
    square += three.square;
  }
  return {count, 1.0f / count, sum, spread_of(count, sum, square)};
}

// Sums over some pixels of a window: all are added once, and then, for the spread, once more as differences from their mean, so
// that a spread much smaller than the mean keeps its digits.
template <class T>
struct PickedSums {
  T count, sum, mean, difference, square;
  template <class Mask>
  HFD_HD_ONLY void add(const T& value, const Mask& taken) {
    count += taken ? every<T>(1.0f) : every<T>(0.0f);
    sum += taken ? value : every<T>(0.0f);
  }
  template <class Mask>
  HFD_HD_ONLY void add_again(const T& value, const Mask& taken) {
    const T apart = taken ? value - mean : every<T>(0.0f);
    difference += apart;
    square += apart * apart;
  }
  HFD_HD_ONLY WindowSums<T> result() const { return {count, 1.0f / count, sum, spread_of(count, difference, square)}; }
};

// Sums over the pixels of rows and columns first to last for which taken(row, column, value) holds.
template <class T, class Window, class Taken>
HFD_HD WindowSums<T> picked_sums(const Window& window, int first, int last, const Taken& taken) {
  PickedSums<T> sums{};
  for (int i = first; i <= last; ++i)
    for (int j = first; j <= last; ++j) {
      const T value = window.value(i, j);
      sums.add(value, taken(i, j, value));
    }
  sums.mean = sums.sum / sums.count;
  for (int i = first; i <= last; ++i)
    for (int j = first; j <= last; ++j) {
      const T value = window.value(i, j);
      sums.add_again(value, taken(i, j, value));
    }
  return sums.result();
}

template <class T>
HFD_HD T magnitude(const T& value) {
  return value < 0.0f ? -value : value;
}

// The four edge directions of refined Lee: three 3 x 3 blocks against three opposite ones, and the middle one of either side.
struct EdgeDirection {
  int first[3], second[3], near, far;
};

HFD_HD constexpr EdgeDirection edge_direction(int d) {
  return d == 0   ? EdgeDirection{{0, 3, 6}, {2, 5, 8}, 3, 5}
         : d == 1 ? EdgeDirection{{0, 1, 2}, {6, 7, 8}, 1, 7}
         : d == 2 ? EdgeDirection{{0, 1, 3}, {5, 7, 8}, 0, 8}
                  : EdgeDirection{{1, 2, 5}, {3, 6, 7}, 2, 6};
}

// Whether a pixel (rows y, columns x from the centre) lies in each of the eight half windows: bit 2 * direction + side.
HFD_HD constexpr uint32_t halves_of(int y, int x) {
  return (x <= 0 ? 1u : 0u) | (x >= 0 ? 2u : 0u) | (y <= 0 ? 4u : 0u) | (y >= 0 ? 8u : 0u) | (y + x <= 0 ? 16u : 0u) |
         (y + x >= 0 ? 32u : 0u) | (y - x <= 0 ? 64u : 0u) | (y - x >= 0 ? 128u : 0u);
}

// The half window to use, per pixel, as its bit: along the strongest edge, on the side that is more like the centre.
template <class T, class Window>
HFD_HD typename Of<T>::Unsigned chosen_half(const Window& window) {
  using Unsigned = typename Of<T>::Unsigned;
  T means[9];
  means[4] = mean_of(sums_3x3<T>(window, 2, 2));
#ifndef __CUDACC__
#pragma GCC unroll 9
#endif
  HFD_UNROLL
  for (int b = 0; b < 9; ++b) {
    if (b == 4) continue;
    const WindowSums<T> block = sums_3x3<T>(window, 2 * (b / 3), 2 * (b % 3));
    means[b] = block.count > 0.0f ? mean_of(block) : means[4];
  }
  T strongest = every<T>(-1.0f);
  Unsigned half{};
#ifndef __CUDACC__
#pragma GCC unroll 4
#endif
  HFD_UNROLL
  for (int d = 0; d < 4; ++d) {
    const EdgeDirection edge = edge_direction(d);
    const T strength = magnitude((means[edge.first[0]] + means[edge.first[1]] + means[edge.first[2]]) -
                                 (means[edge.second[0]] + means[edge.second[1]] + means[edge.second[2]]));
    const auto near_side = magnitude(means[edge.near] - means[4]) <= magnitude(means[edge.far] - means[4]);
    const Unsigned bit = near_side ? Unsigned{} + (1u << (2 * d)) : Unsigned{} + (2u << (2 * d));
    const auto wins = strength > strongest;
    half = wins ? bit : half;
    strongest = wins ? strength : strongest;
  }
  return half;
}

template <class T, class Window>
HFD_HD T refined_lee_value(const Window& window, float looks) {
  const typename Of<T>::Unsigned half = chosen_half<T>(window);
  const WindowSums<T> sums = picked_sums<T>(window, 0, 6, [&](int i, int j, const T&) noexcept {
    return ((half & halves_of(i - 3, j - 3)) != 0u) & (window.valid(i, j) > 0.0f);
  });
  return kuan_value(sums, window.value(3, 3), 1.0f / looks);
}

// Pixels above `bright` with, in their 3 x 3, one above it that has more than five such pixels in its own. `corner` is the row and
// column of the upper left of the 5 x 5 pixels around the first one.
template <class T, class Window>
HFD_HD typename Of<T>::Unsigned bright_targets(const Window& window, int corner, float bright) {
  using Unsigned = typename Of<T>::Unsigned;
  using Signed = typename Of<T>::Signed;
  Unsigned is_bright[5][5], target{};
  HFD_UNROLL
  for (int i = 0; i < 5; ++i)
    HFD_UNROLL
    for (int j = 0; j < 5; ++j) is_bright[i][j] = Of<T>::mask(window.value(corner + i, corner + j) > bright);
  HFD_UNROLL
  for (int i = 1; i < 4; ++i)
    HFD_UNROLL
    for (int j = 1; j < 4; ++j) {
      Signed minus_count{};
      HFD_UNROLL
      for (int y = -1; y < 2; ++y)
        HFD_UNROLL
        for (int x = -1; x < 2; ++x) minus_count += bits_as<Signed>(is_bright[i + y][j + x]);  // a mask is -1
      target |= is_bright[i][j] & Of<T>::mask(minus_count < -5);
    }
  return target & is_bright[2][2];
}

// The window's pixels inside [low, high] times the prior. `clean`: all are valid.
template <class T, class Window, class Plan>
HFD_HD WindowSums<T> sums_in_range(const Window& window, const Plan& plan, const T& prior, bool clean) {
  const T low = plan.low * prior, high = plan.high * prior;
  const int first = static_cast<int>(plan.halo - plan.radius), last = static_cast<int>(plan.halo + plan.radius);
  if (clean)
    return picked_sums<T>(window, first, last, [&](int, int, const T& value) noexcept { return (value >= low) & (value <= high); });
  return picked_sums<T>(window, first, last, [&](int i, int j, const T& value) noexcept {
    return (value >= low) & (value <= high) & (window.valid(i, j) > 0.0f);
  });
}

template <class T, class Window, class Plan>
HFD_HD T lee_sigma_value(const Window& window, const Plan& plan, float bright, bool clean) {
  const int middle = static_cast<int>(plan.halo);
  const T centre = window.value(middle, middle);
  const T prior = kuan_value(sums_3x3<T>(window, middle - 1, middle - 1), centre, 1.0f / plan.looks);
  const WindowSums<T> sums = sums_in_range(window, plan, prior, clean);
  const T value = sums.count > 0.0f ? kuan_value(sums, centre, plan.noise2) : prior;
  const auto target = bright_targets<T>(window, middle - 2, bright) != 0u;
  return target ? centre : value;
}

// `sums` are those of the whole window.
template <class T, class Window, class Plan>
HFD_HD T frost_value(const Window& window, const Plan& plan, const WindowSums<T>& sums, bool clean) {
  const T variation = variation2(sums);
  T total = window.value(static_cast<int>(plan.halo), static_cast<int>(plan.halo)), weights = every<T>(1.0f);
  for (int64_t r = 0; r < plan.ring_count; ++r) {
    const SpeckleRing ring = plan.rings[r];
    T sum{}, count{};
    for (int32_t t = ring.begin; t < ring.end; ++t) {
      const auto tap = plan.taps[t];
      sum += window.value(tap.row, tap.col);
      if (!clean) count += window.valid(tap.row, tap.col);
    }
    if (clean) count += static_cast<float>(ring.end - ring.begin);
    const T weight = frost_weight(variation, plan.damping, ring.distance);
    total += weight * sum;
    weights += weight * count;
  }
  return total / weights;
}

}  // namespace
}  // namespace hfd
