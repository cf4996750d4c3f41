// Repeats recorded calls of blending (tests/recorded_blend.py).
#pragma once

#include <cmath>
#include <limits>

#include "ops/blend.h"

inline void plain(std::vector<float>& values) {
  for (float& value : values)
    if (std::isnan(value)) value = std::numeric_limits<float>::quiet_NaN();
}

template <class Reader, class Write>
void replay_blend(Reader& in, const Write& write) {
  const auto head = in.template take<int64_t>(6);
  const int64_t classes = head[0], rows = head[1], used = head[2], more = head[3], gap = head[4], shared = head[5];
  const int64_t cols = used + gap;
  const auto tile = in.template take<float>(classes * (rows + more) * (used + more));
  auto field = in.template take<float>(classes * rows * cols), other = in.template take<float>(classes * rows * cols);
  const auto share = in.template take<int32_t>(used + shared);
  const auto state = in.template take<uint8_t>(used), holds = in.template take<uint8_t>(2 * cols);
  hfd::blend_tile({tile.data(), classes, {rows + more, used + more}, {more, more}, field.data(), {rows, cols}, gap, share.data(),
                   state.data(), used, 2});
  hfd::blend_strips({field.data(), other.data(), classes, rows, rows, cols, share.data() + used, shared, holds.data(),
                     holds.data() + cols, 2});
  plain(field);
  plain(other);
  write(field);
  write(other);
}
