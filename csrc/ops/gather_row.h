// What one worker of gather is given: plain records, see row_loops.h.
#pragma once

#include <cstdint>

#include "common/reflect.h"
#include "ops/gather_pixel.h"

namespace hfd {

enum class Element { u8, i8, u16, i16, u32, i32, f32, f64, c64, c128 };

// The same for all rows of a call.
struct GatherPlan {
  Unit unit, model_unit;
  Element element;
  float scale, offset, floor;
  const double* nodata;  // those that `element` can hold at all, no NaN
  int64_t nodata_count;
  const Normal* normal;  // per band
  const Run* runs;       // the tile's columns, as columns of what was read
  int64_t run_count;
  int64_t bands, cols;
  int64_t band_stride, col_stride, valid_stride;  // of what was read, in bytes
  int64_t plane;                                  // pixels of the tile
  bool decibels_finite;                           // see decibels_stay_finite
};

struct GatherRow {
  const char* values;  // the source row in the first band, scene column of the window
  const char* soon;    // as values: a row that this worker is likely to be given soon, or null
  const char* valid;   // uint8, or null
  float* tile;         // the row in the tile's first band
  uint8_t* status;
  float* imaginary;    // scratch, complex only
  uint32_t* marks;     // scratch, Status bits
};

using GatherRowLoop = void (*)(const GatherPlan&, const GatherRow&);

}  // namespace hfd
