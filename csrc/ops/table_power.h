// Detected amplitudes to linear power by tables that are sparse in line and pixel: max(DN^2 - noise, 0) / gain^2, in float64 until it is
// stored as float32. Twin: tests/reference.py::power_by_tables.
#pragma once

#include <cstdint>

#include "common/views.h"

namespace hfd {

// Of row r: lines[first[r]], or where weight[r] is not 0 linear between that one and the next.
struct LineTable {
  const double* lines;   // (count, cols), C order
  int64_t count;
  const int64_t* first;  // (rows)
  const double* weight;  // (rows)
};

struct TablePowerCall {
  const uint16_t* stored;  // (rows, cols), C order
  Size size;
  LineTable gain, noise;
  // The noise is multiplied by one factor for some neighbouring columns: piece p ends before column ends[p], the last one with the row.
  const double* factors;   // (rows, pieces), C order
  const int64_t* ends;     // (pieces), not decreasing
  int64_t pieces;
  float* power;            // (rows, cols); columns are neighbours
  int64_t power_stride;    // bytes from row to row
};

// Throws std::invalid_argument where a row names a line that is not there, or the pieces do not make up a row.
void power_by_tables_cpu(const TablePowerCall& call);

}  // namespace hfd
