// What one worker of finish is given: plain records, see row_loops.h.
#pragma once

#include "ops/finish.h"

namespace hfd {

// Kept pixels of one work item. Columns are worked on cell by cell (finish_pixel.h): every phase is a row of its own, in which
// neighbours are one logit apart, so one constant weight serves a whole vector and nothing is gathered.
struct FinishBlock {
  int64_t row, rows;    // kept rows
  int64_t col, cols;    // kept columns
  int64_t cell, cells;  // cells that hold them
  int64_t skipped;      // pixels of the first cell that are not in the block
};

// Memory of one worker; `width` floats hold all phases of all cells of a block.
struct FinishScratch {
  int64_t width;
  float* stretched;             // (2, classes, width): two logit rows, stretched along their columns
  float *best, *sum;            // (width)
  int32_t* number;              // (width)
  uint8_t *labels, *score;      // (width), pixels in order
  FinishCounts counts;
};

constexpr int64_t kSlack = 64;  // a last vector may run over the end of `width` by less than this

using FinishBlockLoop = void (*)(const FinishCall&, const FinishBlock&, FinishScratch&);

}  // namespace hfd
