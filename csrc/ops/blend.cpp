// What blend accepts; the loops are in blend_cpu.cpp.
#include "ops/blend.h"

#include "common/refuse.h"
#include "ops/blend_pixel.h"

namespace hfd {
namespace {

void check_shares(const int32_t* share, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (share[i] < 0 || share[i] > kShareOne)
      refuse("share[", i, "]=", share[i], ": it must be 0 to ", kShareOne, "; make it with hfd_edge.tiles_shares");
}

}  // namespace

void blend_tile(const BlendTileCall& call) {
  const Size tile = call.tile_size, field = call.field_size;
  check_threads(call.threads);
  const bool inside = call.first.row >= 0 && call.first.col >= 0 && call.first.row <= tile.rows - field.rows &&
                      call.first.col <= tile.cols - call.used_cols;
  if (!inside)
    refuse("first=(", call.first.row, ", ", call.first.col, ") with ", field.rows, " x ", call.used_cols,
           " cells: it leaves the tile of (", tile.rows, ", ", tile.cols, "); the cells that are used must lie in it");
  if (call.col < 0 || call.col > field.cols - call.used_cols)
    refuse("col=", call.col, " with ", call.used_cols, " cells: it leaves the field of ", field.cols, " columns");
  check_shares(call.share, call.used_cols);
  blend_tile_cpu(call);
}

void blend_strips(const BlendStripsCall& call) {
  check_threads(call.threads);
  if (call.rows < 1 || call.rows > call.upper_rows || call.rows > call.lower_rows)
    refuse("share has ", call.rows, " rows and the strips ", call.upper_rows, " and ", call.lower_rows,
           ": they must share at least one and have them all");
  check_shares(call.share, call.rows);
  blend_strips_cpu(call);
}

}  // namespace hfd
