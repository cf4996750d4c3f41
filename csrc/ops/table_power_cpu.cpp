// Some columns of all rows before the next ones: so the tables' lines stay in the first cache.
#include <algorithm>

#include "common/float_env.h"
#include "common/refuse.h"
#include "ops/table_power.h"

namespace hfd {
namespace {

constexpr int64_t kColumns = 1024;

struct Between {
  const double *above, *below;
  double weight;
  double at(int64_t col) const { return above[col] + weight * (below[col] - above[col]); }
};

Between between(const LineTable& table, int64_t row, int64_t cols) {
  const double* const above = table.lines + table.first[row] * cols;
  return {above, table.weight[row] != 0 ? above + cols : above, table.weight[row]};
}

void check_table(const LineTable& table, const char* name, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t last = table.first[row] + (table.weight[row] != 0);
    if (table.first[row] < 0 || last >= table.count)
      refuse(name, ": row ", row, " lies between lines ", table.first[row], " and ", last, " of ", table.count, ": give lines that are there");
  }
}

void check_pieces(const TablePowerCall& call) {
  int64_t start = 0;
  for (int64_t piece = 0; piece < call.pieces; start = call.ends[piece++])
    if (call.ends[piece] < start) refuse("ends: piece ", piece, " ends at ", call.ends[piece], ", before ", start, ": they must not decrease");
  if (start != call.size.cols) refuse("ends: the last piece ends at ", start, ": it must end with the ", call.size.cols, " columns");
}

void power_of_columns(const uint16_t* stored, const Between& gain, const Between& noise, double factor, int64_t first, int64_t end, float* power) {
  for (int64_t col = first; col < end; ++col) {
    const double amplitude = stored[col], left = amplitude * amplitude - noise.at(col) * factor, scale = gain.at(col);
    power[col] = static_cast<float>((left < 0 ? 0 : left) / (scale * scale));
  }
}

void power_of_row(const TablePowerCall& call, int64_t row, int64_t first, int64_t end) {
  const int64_t cols = call.size.cols;
  const Between gain = between(call.gain, row, cols), noise = between(call.noise, row, cols);
  float* const power = reinterpret_cast<float*>(reinterpret_cast<char*>(call.power) + row * call.power_stride);
  for (int64_t piece = 0, start = 0; piece < call.pieces; start = call.ends[piece++])
    power_of_columns(call.stored + row * cols, gain, noise, call.factors[row * call.pieces + piece], std::max(start, first),
                     std::min(call.ends[piece], end), power);
}

}  // namespace

void power_by_tables_cpu(const TablePowerCall& call) {
  check_table(call.gain, "gain", call.size.rows);
  check_table(call.noise, "noise", call.size.rows);
  check_pieces(call);
  const FloatEnvironment environment;
  for (int64_t first = 0; first < call.size.cols; first += kColumns)
    for (int64_t row = 0; row < call.size.rows; ++row) power_of_row(call, row, first, std::min(first + kColumns, call.size.cols));
}

}  // namespace hfd
