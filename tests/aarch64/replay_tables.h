// Repeats recorded calls of amplitudes to power by tables (tests/recorded_tables.py).
#pragma once

#include <cstring>

#include "ops/table_power.h"
#include "replay_blend.h"

template <class Reader>
struct RecordedTable {
  std::vector<double> lines;
  std::vector<int64_t> first;
  std::vector<double> weight;
  int64_t count;
  RecordedTable(Reader& in, int64_t count, int64_t rows, int64_t cols)
      : lines(in.template take<double>(count * cols)), first(in.template take<int64_t>(rows)), weight(in.template take<double>(rows)), count(count) {}
  hfd::LineTable view() const { return {lines.data(), count, first.data(), weight.data()}; }
};

template <class Reader, class Write>
void replay_tables(Reader& in, const Write& write, uint8_t poison) {
  const auto head = in.template take<int64_t>(6);
  const int64_t rows = head[0], cols = head[1], pieces = head[4], pitch = cols + head[5];
  const auto stored = in.template take<uint16_t>(rows * cols);
  const RecordedTable<Reader> gain(in, head[2], rows, cols), noise(in, head[3], rows, cols);
  const auto factors = in.template take<double>(rows * pieces);
  const auto ends = in.template take<int64_t>(pieces);
  std::vector<float> power(rows * pitch);
  std::memset(power.data(), poison, power.size() * sizeof(float));
  hfd::power_by_tables_cpu({stored.data(), {rows, cols}, gain.view(), noise.view(), factors.data(), ends.data(), pieces, power.data(),
                            pitch * static_cast<int64_t>(sizeof(float))});
  plain(power);
  write(power);
}
