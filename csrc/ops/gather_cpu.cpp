// Says once per call what is the same for all rows and gives each worker its memory; the loops are in gather_loops.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/parallel.h"
#include "ops/gather.h"
#include "ops/row_loops.h"

namespace hfd {
namespace {

constexpr int64_t kAhead = 2;  // rows between asking for pixels and using them: 1 is 1.1 times slower, 3 and 4 are as fast

template <class T>
bool holds(double value) {
  const bool in_range = value >= static_cast<double>(std::numeric_limits<T>::lowest()) &&
                        value <= static_cast<double>(std::numeric_limits<T>::max());
  return in_range && static_cast<double>(static_cast<T>(value)) == value;
}

bool can_be(Element element, double value) {
  switch (element) {
    case Element::u8: return holds<uint8_t>(value);
    case Element::i8: return holds<int8_t>(value);
    case Element::u16: return holds<uint16_t>(value);
    case Element::i16: return holds<int16_t>(value);
    case Element::u32: return holds<uint32_t>(value);
    case Element::i32: return holds<int32_t>(value);
    case Element::f32: case Element::c64: return holds<float>(value);
    case Element::f64: case Element::c128: return holds<double>(value);
  }
  return false;
}

// The declared nodata values that a stored pixel can be at all; the others equal none.
std::vector<double> possible_nodata(const GatherConfig& config, Element element) {
  std::vector<double> kept;
  for (const double value : config.nodata)
    if (can_be(element, value)) kept.push_back(value);
  return kept;
}

std::vector<Normal> normals(const GatherConfig& config) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Normal> all;
  for (size_t b = 0; b < config.mean.size(); ++b) {
    const bool clipped = !config.clip_low.empty();
    all.push_back({std::isnan(config.floor) ? -kInfinity : config.floor, clipped ? config.clip_low[b] : -kInfinity,
                   clipped ? config.clip_high[b] : kInfinity, config.mean[b], config.gain[b]});
  }
  return all;
}

}  // namespace

void gather_cpu(const GatherConfig& config, const GatherCall& call) {
  const GatherRowLoop loop = row_loops().gather_row;
  const int64_t cols = call.tile_size.cols, rows = call.tile_size.rows;
  std::vector<Run> runs = reflected_runs(call.origin.col, cols, call.scene.cols);
  for (Run& run : runs) run.from -= call.window.col;
  const std::vector<double> nodata = possible_nodata(config, call.element);
  const std::vector<Normal> normal = normals(config);
  const GatherPlan plan{config.unit, config.model_unit, call.element, config.scale, config.offset, config.floor,
                        nodata.data(), static_cast<int64_t>(nodata.size()), normal.data(),
                        runs.data(), static_cast<int64_t>(runs.size()), call.values.bands, cols,
                        call.values.band_stride, call.values.col_stride, call.valid.col_stride, rows * cols};
  const int threads = static_cast<int>(std::min<int64_t>(call.threads, rows));
  std::vector<float> imaginary(config.unit == Unit::complex ? threads * cols : 0);
  std::vector<uint32_t> marks(threads * cols);
  const auto source_row = [&](int64_t tile_row) {
    return reflect101(call.origin.row + tile_row, call.scene.rows) - call.window.row;
  };
  parallel_for(rows, threads, [&](int worker, int64_t tile_row) {
    const int64_t source = source_row(tile_row);
    const char* const soon = tile_row + kAhead < rows ? call.values.band(0).row(source_row(tile_row + kAhead)) : nullptr;
    loop(plan, {call.values.band(0).row(source), soon, call.valid ? call.valid.row(source) : nullptr, call.tile + tile_row * cols,
                call.status + tile_row * cols, imaginary.empty() ? nullptr : imaginary.data() + worker * cols,
                marks.data() + worker * cols});
  });
}

}  // namespace hfd
