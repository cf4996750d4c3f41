// Says once per call what is the same for all rows and gives each worker its memory; the loops are in gather_loops.h.
#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ops/gather.h"
#include "ops/row_loops.h"

namespace hfd {
namespace {

constexpr int64_t kAhead = 2;  // rows between asking for pixels and using them: 1 is 1.1 times slower, 3 and 4 are as fast

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

void Gather::run(const GatherCall& call) const {
  check(call);
  gather_cpu(config_, call);
}

}  // namespace hfd
