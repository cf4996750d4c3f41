// Pairs of numbers of one plane, counted in a table: how alike two neighbouring windows are. Whole numbers, added: the same for any
// order and tiling. Twin: tests/reference_speckle.py::enl_pairs.
#pragma once

#include <cstdint>

#include "common/views.h"

namespace hfd {

struct PairCall {
  const float* plane;        // size.rows x size.cols, C order
  Size size;
  int64_t rows;              // of the first numbers: from row 0 on; the second lie anywhere in the plane
  int64_t first_col, cols;   // of the first numbers
  int64_t apart;             // the second number lies so far to the right, or so far below
  float low, high;           // numbers outside [low, high) are in no pair
};

// Adds each pair to table[bin of the first][bin of the second], `bins` equal bins each.
void count_pairs_cpu(const PairCall& call, int64_t* table, int64_t bins);

}  // namespace hfd
