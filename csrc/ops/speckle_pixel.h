// The maths of the speckle filters, pixel by pixel, for both compilers. Twin: tests/reference_speckle.py.
#pragma once

#include "common/log_exp.h"

namespace hfd {

constexpr float kLog2OfE = 1.44269504f;

// A larger number is no intensity: 160 dB, and the sums of 225 squares stay in float32.
constexpr float kLargestIntensity = 1e16f;

// What is known of the valid pixels of a window.
template <class T>
struct WindowSums {
  T count, one_over_count;
  T sum;
  T spread;  // count (count - 1) times the variance
};

template <class T>
HFD_HD T mean_of(const WindowSums<T>& sums) {
  return sums.sum * sums.one_over_count;
}

// count (count - 1) times the variance; never below 0, and exactly 0 for one pixel. The sums may be of the pixels' differences
// from any one number.
template <class T>
HFD_HD T spread_of(T count, T sum, T square) {
  return Of<T>::higher(count * square - sum * sum, every<T>(0.0f));
}

// Share of the window's variance that speckle of squared variation cu2 explains: cu2 mean^2 / variance, at most 1. No 0 / 0 and
// no special case for flat windows: where the variance is 0 everything is speckle.
template <class T>
HFD_HD T noise_share(const WindowSums<T>& sums, float cu2) {
  const T noise = (sums.sum * sums.sum) * (cu2 * ((sums.count - 1.0f) * sums.one_over_count));
  const T share = noise / sums.spread;  // also where it is not taken: a branch would cost a GPU more
  return sums.spread > noise ? share : every<T>(1.0f);
}

// Squared coefficient of variation, variance / mean^2; 0 where the variance is.
template <class T>
HFD_HD T variation2(const WindowSums<T>& sums) {
  const T ratio = (sums.spread * sums.count) / ((sums.sum * sums.sum) * (sums.count - 1.0f));
  return sums.spread > 0.0f ? ratio : every<T>(0.0f);
}

// Between the mean and the pixel; written as a weighted mean, which loses no digits where either is much larger.
template <class T>
HFD_HD T between_both(T share_of_mean, T mean, T centre) {
  return share_of_mean * mean + (1.0f - share_of_mean) * centre;
}

template <class T>
HFD_HD T lee_value(const WindowSums<T>& sums, T centre, float cu2) {
  return between_both(noise_share(sums, cu2), mean_of(sums), centre);
}

template <class T>
HFD_HD T kuan_value(const WindowSums<T>& sums, T centre, float cu2) {
  const float gain = 1.0f / (1.0f + cu2);
  return between_both(1.0f - (1.0f - noise_share(sums, cu2)) * gain, mean_of(sums), centre);
}

template <class T>
HFD_HD T enhanced_lee_value(const WindowSums<T>& sums, T centre, float looks) {
  const float cu = sqrtf(1.0f / looks), cmax = sqrtf(1.0f + 2.0f / looks);
  const T ci = Of<T>::root(variation2(sums));
  const T weight = exp2_poly(-kLog2OfE * (ci - cu) / (cmax - ci));
  const T inside = between_both(weight, mean_of(sums), centre);
  const T above = ci >= cmax ? centre : inside;
  return ci <= cu ? mean_of(sums) : above;
}

// The positive root of Lopes et al. 1990, divided by alpha = (1 + cu2) / (ci2 - cu2), so that nothing grows without bound at
// ci2 = cu2: b falls from 1 to 0 between there and 2 cu2, where the filter jumps to the pixel itself.
template <class T>
HFD_HD T gamma_map_value(const WindowSums<T>& sums, T centre, float looks) {
  const float cu2 = 1.0f / looks, scale = 1.0f / (1.0f + cu2);
  const T ci2 = variation2(sums), mean = mean_of(sums);
  const T u = (ci2 - cu2) * scale;
  const T b = (1.0f - (looks + 1.0f) * u) * mean;
  const T under = b * b + (4.0f * looks) * (u * (mean * centre));
  const T root = 0.5f * (b + Of<T>::root(Of<T>::higher(under, b * b)));
  const T above = ci2 >= 2.0f * cu2 ? centre : root;
  return ci2 <= cu2 ? mean : above;
}

// Frost's weight of the pixels at a distance, in pixels.
template <class T>
HFD_HD T frost_weight(T variation2, float damping, float distance) {
  return exp2_poly((variation2 * (-damping * kLog2OfE)) * distance);
}

// log2 of the equivalent number of looks, mean^2 / variance.
template <class T>
HFD_HD T log2_looks(const WindowSums<T>& sums) {
  return log2_poly(((sums.sum * sums.sum) * (sums.count - 1.0f)) / (sums.spread * sums.count));
}

// log2 of the looks of a window of `whole` pixels all of which are valid and not flat; else NaN.
template <class T>
HFD_HD T local_enl_value(const WindowSums<T>& sums, float whole) {
  const auto known = (sums.count == whole) & (sums.sum > 0.0f) & (sums.spread > 0.0f);
  return known ? log2_looks(sums) : bits_as<T>(typename Of<T>::Unsigned{} + 0x7fc00000u);
}

}  // namespace hfd
