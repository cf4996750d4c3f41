// Views of memory owned by someone else. Strides are in bytes and may be negative or unaligned.
#pragma once

#include <cstdint>

namespace hfd {

struct Point {
  int64_t row = 0, col = 0;
};

struct Size {
  int64_t rows = 0, cols = 0;
};

// (rows, cols), elements of a type known elsewhere.
struct Plane {
  const char* data = nullptr;
  Size size;
  int64_t row_stride = 0, col_stride = 0;
  explicit operator bool() const { return data != nullptr; }
  const char* row(int64_t index) const { return data + index * row_stride; }
};

// (bands, rows, cols).
struct Image {
  const char* data = nullptr;
  int64_t bands = 0;
  Size size;
  int64_t band_stride = 0, row_stride = 0, col_stride = 0;
  Plane band(int64_t index) const { return {data + index * band_stride, size, row_stride, col_stride}; }
};

}  // namespace hfd
