// Says once per call what is the same for all rows and gives each worker its memory; the loops are in gather_loops.h.
#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ops/gather.h"
#include "ops/row_loops.h"

namespace hfd {
namespace {

constexpr int64_t kAhead = 2;    // rows between asking for pixels and using them: 1 to 4 are as fast
constexpr int64_t kPiece = 128;  // pixels of a row that are asked for at once: a processor waits for a few lines at a time

// Scratch of one worker.
struct Memory {
  Memory(const GatherCall& call, bool is_complex)
      : imaginary(is_complex ? call.tile_size.cols : 0), marks(call.tile_size.cols),
        rows(call.cells == nullptr ? 0 : 2 * call.values.bands * call.tile_size.cols),
        words(call.cells == nullptr ? 0 : 2 * call.tile_size.cols) {}
  std::vector<float> imaginary;
  std::vector<uint32_t> marks;
  std::vector<float> rows;  // two of the tile, (2, bands, cols)
  std::vector<uint32_t> words;
};

// Runs in short pieces.
std::vector<Run> pieces(const std::vector<Run>& runs) {
  std::vector<Run> cut;
  for (const Run& run : runs)
    for (int64_t at = 0; at < run.count; at += kPiece)
      cut.push_back({run.at + at, run.from + at * run.step, std::min(kPiece, run.count - at), run.step});
  return cut;
}

// What is the same for all rows of a call.
struct Rows {
  Rows(const GatherConfig& config, const GatherCall& call)
      : call(call), runs(pieces(reflected_runs(call.origin.col, call.tile_size.cols, call.scene.cols))),
        nodata(possible_nodata(config.nodata, call.element)), normal(normals(config)),
        plan{config.unit, config.model_unit, call.element, config.scale, config.offset, config.floor,
             nodata.data(), static_cast<int64_t>(nodata.size()), normal.data(),
             runs.data(), static_cast<int64_t>(runs.size()), call.values.bands, call.tile_size.cols,
             call.values.band_stride, call.values.col_stride, call.valid.col_stride,
             call.cells == nullptr ? call.tile_size.rows * call.tile_size.cols : call.tile_size.cols,
             decibels_stay_finite(normal)} {
    for (Run& run : runs) run.from -= call.window.col;
  }
  Rows(const Rows&) = delete;

  int64_t source(int64_t tile_row) const { return reflect101(call.origin.row + tile_row, call.scene.rows) - call.window.row; }

  GatherRow row(int64_t tile_row, float* out, Memory& memory) const {
    const int64_t from = source(tile_row), cols = call.tile_size.cols;
    const char* const soon = tile_row + kAhead < call.tile_size.rows ? call.values.band(0).row(source(tile_row + kAhead)) : nullptr;
    return {call.values.band(0).row(from), soon, call.valid ? call.valid.row(from) : nullptr, out, call.status + tile_row * cols,
            memory.imaginary.empty() ? nullptr : memory.imaginary.data(), memory.marks.data()};
  }

  const GatherCall& call;
  std::vector<Run> runs;
  std::vector<double> nodata;
  std::vector<Normal> normal;
  GatherPlan plan;
};

// Two rows of the tile, which stay in the first-level cache, to a row of cells.
void gather_cells(const Rows& rows, int64_t pair, Memory& memory) {
  const RowLoops& loops = row_loops();
  const GatherCall& call = rows.call;
  const int64_t cols = call.tile_size.cols, bands = call.values.bands;
  float *even = memory.rows.data(), *odd = even + bands * cols;
  loops.gather_row(rows.plan, rows.row(2 * pair, even, memory));
  loops.gather_row(rows.plan, rows.row(2 * pair + 1, odd, memory));
  loops.byte_rows({call.bytes, bands, cols, even, odd, memory.words.data(), call.cells + pair * 2 * cols * bands});
}

}  // namespace

void gather_cpu(const GatherConfig& config, const GatherCall& call) {
  const GatherRowLoop loop = row_loops().gather_row;
  const Rows rows(config, call);
  const int64_t count = call.cells == nullptr ? call.tile_size.rows : call.tile_size.rows / 2;
  const int threads = static_cast<int>(std::min<int64_t>(call.threads, count));
  std::vector<Memory> memory;
  memory.reserve(threads);
  for (int i = 0; i < threads; ++i) memory.emplace_back(call, config.unit == Unit::complex);
  parallel_for(count, threads, [&](int worker, int64_t item) {
    if (call.cells != nullptr) return gather_cells(rows, item, memory[worker]);
    loop(rows.plan, rows.row(item, call.tile + item * call.tile_size.cols, memory[worker]));
  });
}

void Gather::run(const GatherCall& call) const {
  check(call);
  gather_cpu(config_, call);
}

}  // namespace hfd
