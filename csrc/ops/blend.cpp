// What blend accepts; the loops are in blend_cpu.cpp and blend_cuda.cu.
#include "ops/blend.h"

#include "common/refuse.h"

namespace hfd {
void check_blend_place(const BlendTileCall& call) {
  const Size tile = call.tile_size, field = call.field_size;
  check_threads(call.threads);
  const bool inside = call.first.row >= 0 && call.first.col >= 0 && call.first.row <= tile.rows - field.rows &&
                      call.first.col <= tile.cols - call.used_cols;
  if (!inside)
    refuse("first=(", call.first.row, ", ", call.first.col, ") with ", field.rows, " x ", call.used_cols,
           " cells: it leaves the tile of (", tile.rows, ", ", tile.cols, "); the cells that are used must lie in it");
  if (call.col < 0 || call.col > field.cols - call.used_cols)
    refuse("col=", call.col, " with ", call.used_cols, " cells: it leaves the field of ", field.cols, " columns");
}

void check_blend_rows(const BlendStripsCall& call) {
  check_threads(call.threads);
  if (call.rows < 1 || call.rows > call.upper_rows || call.rows > call.lower_rows)
    refuse("share has ", call.rows, " rows and the strips ", call.upper_rows, " and ", call.lower_rows,
           ": they must share at least one and have them all");
}

}  // namespace hfd
