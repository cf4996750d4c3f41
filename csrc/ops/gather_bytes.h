// Network input as bytes in cells of 2 x 2 pixels, as a graph takes it whose first convolution counts them: channel
// (2 * row + col) * bands + band of a cell is the pixel at (row, col) in it. Twin: tests/reference.py::to_bytes.
#pragma once

#include <cstdint>

namespace hfd {

constexpr int64_t kMostByteBands = 4;  // a pixel's bytes fit into one word

// A byte is round(value / scale) + zero within 0..255, halves to the even number, as ONNX's QuantizeLinear.
struct ByteScale {
  float scale;
  int32_t zero;
};

// Two rows of one tile to a row of cells.
struct ByteRows {
  ByteScale by;
  int64_t bands, cols;
  const float *even, *odd;  // (bands, cols) each, C order
  uint32_t* words;          // scratch, (2, cols)
  uint8_t* cells;           // (cols / 2, 4 * bands)
};

using ByteRowsLoop = void (*)(const ByteRows&);

}  // namespace hfd
