// How a thread of gather_cuda.cu reads the four stored numbers of its pixels. Included there alone.
#pragma once

#include <type_traits>

#include "common/launch.h"
#include "ops/gather_cuda.h"

namespace hfd {
namespace {

constexpr int kPixels = 4;

// Where the four pixels of a thread lie in what was read.
struct Sources {
  const char* first;
  const int32_t* behind;  // columns from the first one, of each
  int32_t col_stride;
};

// Four stored numbers, kPitch numbers apart, which lie side by side.
template <class T, int kPitch>
HFD_DEVICE void load_beside(const char* first, T* out) {
  constexpr int kBytes = kPixels * kPitch * static_cast<int>(sizeof(T)), kWide = kBytes < 16 ? kBytes : 16;
  struct Wide { char bytes[kWide]; } wide[kBytes / kWide];
  HFD_UNROLL
  for (int k = 0; k < kBytes / kWide; ++k) load_wide(first + k * kWide, wide[k]);
  memcpy(out, wide, kBytes);
}

// From addresses of any alignment.
template <class T, int kPitch>
HFD_DEVICE void load_apart(const char* first, const int32_t* behind, int32_t col_stride, T* out) {
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i)
    HFD_UNROLL
    for (int k = 0; k < kPitch; ++k) {
      const char* address = first + behind[i] * col_stride + k * static_cast<int64_t>(sizeof(T));
      if (reinterpret_cast<uintptr_t>(address) % sizeof(T) == 0)
        load_wide(address, out[i * kPitch + k]);
      else
        memcpy(&out[i * kPitch + k], address, sizeof(T));
    }
}

template <class T, int kPitch, bool kWide>
HFD_DEVICE void load_four(const Sources& from, T* out) {
  if (kWide) return load_beside<T, kPitch>(from.first, out);
  load_apart<T, kPitch>(from.first, from.behind, from.col_stride, out);
}

struct Numbers {
  float value[kPixels], imaginary[kPixels];
};

struct Nodata {
  double value[kMostCudaNodata];
  int32_t count;
};

// Whether float32 holds every number of a type, so that a nodata value can be looked for in the numbers made of it.
template <class T>
constexpr bool kFitsFloat = sizeof(T) <= 2 || std::is_same<T, float>::value;

// The first nodata value of a type that float32 holds is looked for later, with the conversion.
template <class T, bool kWide>
HFD_DEVICE void load_real(const Sources& from, const Nodata& nodata, Numbers& numbers, uint32_t* marks) {
  T raw[kPixels];
  load_four<T, 1, kWide>(from, raw);
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) numbers.value[i] = static_cast<float>(raw[i]);
  HFD_ROLLED
  for (int n = kFitsFloat<T> ? 1 : 0; n < nodata.count; ++n) {
    const T missing = static_cast<T>(nodata.value[n]);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) marks[i] |= raw[i] == missing ? kNodata : kValid;
  }
}

// A complex pixel equals a nodata value if its real part does and its imaginary part is 0.
template <class T, bool kWide>
HFD_DEVICE void load_complex(const Sources& from, const Nodata& nodata, Numbers& numbers, uint32_t* marks) {
  T raw[2 * kPixels];
  load_four<T, 2, kWide>(from, raw);
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) {
    numbers.value[i] = static_cast<float>(raw[2 * i]);
    numbers.imaginary[i] = static_cast<float>(raw[2 * i + 1]);
    marks[i] |= not_finite(numbers.imaginary[i]) & kNodata;
  }
  HFD_ROLLED
  for (int n = 0; n < nodata.count; ++n) {
    const T missing = static_cast<T>(nodata.value[n]);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i)
      marks[i] |= (raw[2 * i] == missing) & (raw[2 * i + 1] == T(0)) ? kNodata : kValid;
  }
}

}  // namespace
}  // namespace hfd
