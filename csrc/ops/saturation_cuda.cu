// Threads side by side take pixels side by side; each asks for the numbers of several pixels before it looks at one. That one reaches the
// level hardly ever happens, and is looked into afterwards.
#include "ops/saturation_cuda.h"

#include <algorithm>

#include "common/launch.h"
#include "common/refuse.h"
#include "ops/gather_cuda.h"
#include "ops/saturation_pixel.h"

namespace hfd {
namespace {

constexpr int64_t kMostBlocks = 2048;  // of any scene: each adds to the total once

template <class T, int kParts>
struct SaturationBody {
  static constexpr int kThreads = 256, kPhases = 3, kBlocksPerProcessor = 4;
  static constexpr int kEach = sizeof(T) * kParts < 8 ? 8 : 4;
  struct Shared { uint32_t found; };

  const char *values, *valid;
  int64_t band_stride, row_stride, col_stride, valid_row_stride, valid_col_stride;
  int64_t cols, pixels;
  int64_t step, step_rows, step_cols;  // pixels from one of a thread to its next, also as rows and columns
  int32_t bands, nodata_count;
  bool aligned;
  T level, nodata[kMostCudaNodata];
  unsigned long long* total;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0) {
      if (at.thread == 0) shared.found = 0;
    } else if (kPhase == 1) {
      const uint32_t found = aligned ? count<true>(at) : count<false>(at);
      if (found != 0) add_atomically(&shared.found, found);
    } else if (at.thread == 0 && shared.found != 0) {
      add_atomically(total, static_cast<unsigned long long>(shared.found));
    }
  }

  template <bool kAligned>
  HFD_DEVICE uint32_t count(const ThreadPlace& at) const {
    uint32_t found = 0;
    int64_t pixel = static_cast<int64_t>(at.block_x) * kThreads + at.thread;
    int64_t row = pixel / cols, col = pixel % cols;
    for (; pixel < pixels; pixel += kEach * step) {
      const char* from[kEach];
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) {  // behind the last pixel: this thread's first one again, of which no bit is kept
        from[k] = pixel + k * step < pixels ? values + row * row_stride + col * col_stride : from[0];
        row += step_rows;
        col += step_cols;
        if (col >= cols) col -= cols, ++row;
      }
      uint32_t hits = hits_of<kAligned>(from);
      for (int64_t hit = pixel; hits != 0 && hit < pixels; hit += step, hits >>= 1)
        if (hits & 1) found += has_value<kAligned>(hit);
    }
    return found;
  }

  template <bool kAligned>
  static HFD_DEVICE void load(const char* from, T (&number)[kParts]) {
    if (kAligned)
      load_wide(from, number);
    else
      memcpy(number, from, sizeof number);
  }

  // A bit a pixel that reaches the level in a band.
  template <bool kAligned>
  HFD_DEVICE uint32_t hits_of(const char* const (&from)[kEach]) const {
    uint32_t hits = 0;
    for (int32_t b = 0; b < bands; ++b) {
      T number[kEach][kParts];
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) load<kAligned>(from[k] + b * band_stride, number[k]);
      HFD_UNROLL
      for (int k = 0; k < kEach; ++k) hits |= static_cast<uint32_t>(reaches(number[k], level)) << k;
    }
    return hits;
  }

  template <bool kAligned>
  HFD_DEVICE bool has_value(int64_t pixel) const {
    const int64_t row = pixel / cols, col = pixel % cols;
    if (valid != nullptr && valid[row * valid_row_stride + col * valid_col_stride] == 0) return false;
    for (int32_t b = 0; b < bands; ++b) {
      T number[kParts];
      load<kAligned>(values + row * row_stride + col * col_stride + b * band_stride, number);
      if (!is_finite(number)) return false;
      for (int32_t n = 0; n < nodata_count; ++n)
        if (is_nodata(number, nodata[n])) return false;
    }
    return true;
  }
};

template <class T, int kParts>
void count_stored(const SaturationCall& call, int64_t* total, const CudaQueue& queue) {
  const Image& values = call.values;
  const std::vector<double> nodata = possible_nodata(call.nodata, call.element);
  if (nodata.size() > static_cast<size_t>(kMostCudaNodata))
    refuse(nodata.size(), " nodata values: a GPU counts saturated pixels beside at most ", kMostCudaNodata, "; use device='cpu'");
  SaturationBody<T, kParts> body{};
  body.values = values.data;
  body.valid = call.valid.data;
  body.band_stride = values.band_stride;
  body.row_stride = values.row_stride;
  body.col_stride = values.col_stride;
  body.valid_row_stride = call.valid.row_stride;
  body.valid_col_stride = call.valid.col_stride;
  body.cols = values.size.cols;
  body.pixels = values.size.rows * values.size.cols;
  body.bands = static_cast<int32_t>(values.bands);
  const int64_t strides = values.band_stride | values.row_stride | values.col_stride;
  body.aligned = (reinterpret_cast<uintptr_t>(values.data) | static_cast<uintptr_t>(strides)) % (sizeof(T) * kParts) == 0;
  body.level = static_cast<T>(call.level);
  body.nodata_count = static_cast<int32_t>(nodata.size());
  for (size_t i = 0; i < nodata.size(); ++i) body.nodata[i] = static_cast<T>(nodata[i]);
  body.total = reinterpret_cast<unsigned long long*>(total);
  if (body.pixels == 0) return;
  const int64_t blocks = std::min(pieces_of(body.pixels, body.kThreads * body.kEach), kMostBlocks);
  body.step = blocks * body.kThreads;
  body.step_rows = body.step / body.cols;
  body.step_cols = body.step % body.cols;
  launch(body, {blocks}, queue, "counting saturated pixels");
}

}  // namespace

void count_saturated_cuda(const SaturationCall& call, int64_t* total, const CudaQueue& queue) {
  if (!can_be(call.element, call.level))
    refuse("level=", call.level, ": no stored number is that; give it as the numbers of the scene are, or do not count");
  switch (call.element) {
    case Element::u8: return count_stored<uint8_t, 1>(call, total, queue);
    case Element::i8: return count_stored<int8_t, 1>(call, total, queue);
    case Element::u16: return count_stored<uint16_t, 1>(call, total, queue);
    case Element::i16: return count_stored<int16_t, 1>(call, total, queue);
    case Element::u32: return count_stored<uint32_t, 1>(call, total, queue);
    case Element::i32: return count_stored<int32_t, 1>(call, total, queue);
    case Element::f32: return count_stored<float, 1>(call, total, queue);
    case Element::f64: return count_stored<double, 1>(call, total, queue);
    case Element::c64: return count_stored<float, 2>(call, total, queue);
    case Element::c128: return count_stored<double, 2>(call, total, queue);
  }
}

}  // namespace hfd
