// How a block of speckle_cuda.cu brings to shared memory what it sees of an image. Included there alone.
#pragma once

#include "common/launch.h"
#include "ops/speckle_pixel.h"

namespace hfd {
namespace {

// The blocks of a grid whose tiles see nothing beyond the image.
struct Inner {
  uint32_t first_x, count_x, first_y, count_y;
  HFD_DEVICE bool has(const ThreadPlace& at) const { return at.block_x - first_x < count_x && at.block_y - first_y < count_y; }
};

// Of tiles of `size` pixels that begin at `begin`: which see, `halo` further at either end, pixels 0 to count - 1 alone.
inline void find_inner(int64_t begin, int64_t count, int64_t size, int64_t halo, uint32_t* first, uint32_t* inside) {
  const int64_t low = begin >= halo ? 0 : pieces_of(halo - begin, size), room = count - halo - begin;
  *first = static_cast<uint32_t>(low);
  *inside = static_cast<uint32_t>(room / size > low ? room / size - low : 0);
}

struct SpeckleImage {
  const float* values;
  const uint8_t* mask;
  int64_t plane;  // pixels of a band
  int32_t rows, cols;
  bool nearest;
  Inner inner;

  // A pixel that may lie outside the image or be masked.
  HFD_DEVICE float pixel_at(const float* band, int32_t row, int32_t col) const {
    if (nearest) {
      row = row < 0 ? 0 : row < rows ? row : rows - 1;
      col = col < 0 ? 0 : col < cols ? col : cols - 1;
    }
    if (row < 0 || row >= rows || col < 0 || col >= cols) return bits_as<float>(0x7fc00000u);
    const int64_t at = static_cast<int64_t>(row) * cols + col;
    const float value = band[at];
    return mask == nullptr || mask[at] != 0 ? value : bits_as<float>(0x7fc00000u);
  }
};

// kRows x kCols pixels, kPitch apart in shared memory, kLoadRows of them at a time. A thread keeps to one column and goes down, so that
// nothing is divided on the way; what lies right of the last column is a copy of it.
template <int kThreads, int kRows, int kCols, int kPitch>
struct TileLoad {
  static constexpr int kLoadRows = kThreads / kPitch, kLoads = (kRows + kLoadRows - 1) / kLoadRows;

  // `row` and `col` of the tile's first pixel. Whether all that this thread loads is valid; what is not becomes no number.
  static HFD_DEVICE bool load(const SpeckleImage& image, const ThreadPlace& at, int32_t row, int32_t col, float* shared) {
    const int first = at.thread / kPitch, x = at.thread % kPitch < kCols ? at.thread % kPitch : kCols - 1;
    if (first >= kLoadRows) return true;
    const float* band = image.values + at.block_z * image.plane;
    if (image.inner.has(at)) {
      const int64_t offset = static_cast<int64_t>(row + first) * image.cols + col + x;
      const bool last = first + (kLoads - 1) * kLoadRows < kRows;
      const bool clean = image.mask == nullptr ? inside<false>(band + offset, nullptr, image.cols, last, shared + at.thread)
                                               : inside<true>(band + offset, image.mask + offset, image.cols, last, shared + at.thread);
      if (clean) return true;
    }
    return with_care(image, band, row, col + x, first, shared + at.thread);
  }

  static HFD_DEVICE bool fits(float value) { return fabsf(value) <= kLargestIntensity; }

  // Every load is under way before the first value is looked at.
  template <bool kMasked>
  static HFD_DEVICE bool inside(const float* from, const uint8_t* valid, uint32_t cols, bool last, float* to) {
    float near[kLoads];
    uint32_t least = 1;
    HFD_UNROLL
    for (int i = 0; i < kLoads; ++i) {
      const uint64_t ahead = static_cast<uint64_t>(cols) * (i + 1 < kLoads || last ? i * kLoadRows : 0u);
      near[i] = from[ahead];
      const uint32_t seen = kMasked ? valid[ahead] : 1;
      least = seen < least ? seen : least;
    }
    bool clean = least != 0;
    HFD_UNROLL
    for (int i = 0; i < kLoads; ++i) {
      if (i + 1 < kLoads || last) to[i * kLoadRows * kPitch] = near[i];
      clean = clean & fits(near[i]);
    }
    return clean;
  }

  static HFD_DEVICE bool with_care(const SpeckleImage& image, const float* band, int32_t row, int32_t col, int first, float* to) {
    bool clean = true;
    HFD_ROLLED
    for (int y = first; y < kRows; y += kLoadRows, to += kLoadRows * kPitch) {
      const float value = image.pixel_at(band, row + y, col);
      *to = fits(value) ? value : bits_as<float>(0x7fc00000u);
      clean = clean & fits(value);
    }
    return clean;
  }
};

}  // namespace
}  // namespace hfd
