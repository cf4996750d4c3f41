// Repeats recorded calls of the speckle filters (tests/recorded_speckle.py).
#pragma once

#include "ops/speckle.h"

template <class Reader, class Write>
void replay_speckle(Reader& in, const Write& write) {
  const auto head = in.template take<int64_t>(9);
  const auto numbers = in.template take<double>(7);
  const int64_t bands = head[3], rows = head[4], cols = head[5];
  const auto image = in.template take<float>(bands * rows * cols);
  const auto mask = in.template take<uint8_t>(head[8] ? rows * cols : 0);
  std::vector<float> bright, out(bands * head[7] * cols);
  for (int64_t b = 0; b < bands; ++b) bright.push_back(static_cast<float>(numbers[5 + b]));
  const hfd::SpeckleConfig config{static_cast<hfd::SpeckleFilter>(head[0]), static_cast<hfd::SpeckleBorder>(head[1]),
                                  static_cast<int>(head[2]), static_cast<float>(numbers[0]), static_cast<float>(numbers[1]),
                                  static_cast<float>(numbers[2]), static_cast<float>(numbers[3]), static_cast<float>(numbers[4])};
  hfd::speckle(config, {image.data(), bands, {rows, cols}, head[8] ? mask.data() : nullptr, bright, head[6], head[7], out.data(),
                        2});
  write(out);
}
