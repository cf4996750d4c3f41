// blend: overlapping tiles to one field of logits at the logits' own stride. Tiles are first fused along a strip, then strips with
// each other: every logit is fuse(fuse(a, b), fuse(c, d)) of the up to four tiles that cover it, whatever their order of arrival.
#pragma once

#include <cstdint>

#include "common/views.h"

namespace hfd {

// One tile into its strip's field.
struct BlendTileCall {
  const float* tile;     // (classes, rows, cols), C order
  int64_t classes;
  Size tile_size;
  Point first;           // first cell of the tile that is used
  float* field;          // (classes, rows, cols), C order
  Size field_size;
  int64_t col;           // the field's column of that cell; its row is 0, and all rows of the field are used
  const int32_t* share;  // (used cols) the second tile's share in the cells that two tiles cover, 0..kShareOne
  const uint8_t* state;  // (used cols) BlendState
  int64_t used_cols;
  int threads;
};

void check_blend_place(const BlendTileCall& call);  // that the cells lie in tile and field; throws std::invalid_argument
void blend_tile(const BlendTileCall& call);         // all checks, and the loops of the CPU
void blend_tile_cpu(const BlendTileCall& call);

// The last rows of the upper strip's field with the first rows of the lower one's; both get the result.
struct BlendStripsCall {
  float *upper, *lower;  // (classes, rows, cols), C order, one column count
  int64_t classes;
  int64_t upper_rows, lower_rows, cols;
  const int32_t* share;                      // (rows) the lower strip's share
  int64_t rows;                              // that they share
  const uint8_t *upper_holds, *lower_holds;  // (cols) 0 = no tile of that strip covers the column
  int threads;
};

void check_blend_rows(const BlendStripsCall& call);  // throws std::invalid_argument
void blend_strips(const BlendStripsCall& call);      // all checks, and the loops of the CPU
void blend_strips_cpu(const BlendStripsCall& call);

}  // namespace hfd
