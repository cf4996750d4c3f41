// How a thread of gather_cuda.cu reads the four stored numbers of its pixels. Included there alone.
#pragma once

#include "common/launch.h"
#include "ops/gather_cuda.h"

namespace hfd {
namespace {

constexpr int kPixels = 4;

// Where the four pixels of a thread lie in what was read.
struct Sources {
  int32_t at[kPixels];  // bytes from the row's first value
  bool adjacent;        // one after the other
};

// Four stored numbers, kPitch numbers apart, from addresses of any alignment.
template <class T, int kPitch>
HFD_DEVICE void load_four(const char* base, const Sources& from, T* out) {
  struct Word { T number[kPitch]; };
  constexpr int kBytes = kPixels * static_cast<int>(sizeof(Word)), kWide = kBytes < 16 ? kBytes : 16;
  if (from.adjacent && reinterpret_cast<uintptr_t>(base + from.at[0]) % kWide == 0) {
    struct Wide { char bytes[kWide]; } wide[kBytes / kWide];
    HFD_UNROLL
    for (int k = 0; k < kBytes / kWide; ++k) load_wide(base + from.at[0] + k * kWide, wide[k]);
    memcpy(out, wide, kBytes);
    return;
  }
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i)
    HFD_UNROLL
    for (int k = 0; k < kPitch; ++k) {
      const char* address = base + from.at[i] + k * static_cast<int64_t>(sizeof(T));
      if (reinterpret_cast<uintptr_t>(address) % sizeof(T) == 0)
        load_wide(address, out[i * kPitch + k]);
      else
        memcpy(&out[i * kPitch + k], address, sizeof(T));
    }
}

struct Numbers {
  float value[kPixels], imaginary[kPixels];
  uint32_t marks[kPixels];
};

struct Nodata {
  double value[kMostCudaNodata];
  int32_t count;
};

template <class T>
HFD_DEVICE void load_real(const char* base, const Sources& from, const Nodata& nodata, Numbers& numbers) {
  T raw[kPixels];
  load_four<T, 1>(base, from, raw);
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) numbers.value[i] = static_cast<float>(raw[i]);
  for (int n = 0; n < nodata.count; ++n) {
    const T missing = static_cast<T>(nodata.value[n]);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) numbers.marks[i] |= raw[i] == missing ? kNodata : kValid;
  }
}

// A complex pixel equals a nodata value if its real part does and its imaginary part is 0.
template <class T>
HFD_DEVICE void load_complex(const char* base, const Sources& from, const Nodata& nodata, Numbers& numbers) {
  T raw[2 * kPixels];
  load_four<T, 2>(base, from, raw);
  HFD_UNROLL
  for (int i = 0; i < kPixels; ++i) {
    numbers.value[i] = static_cast<float>(raw[2 * i]);
    numbers.imaginary[i] = static_cast<float>(raw[2 * i + 1]);
    numbers.marks[i] |= not_finite(numbers.imaginary[i]) & kNodata;
  }
  for (int n = 0; n < nodata.count; ++n) {
    const T missing = static_cast<T>(nodata.value[n]);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i)
      numbers.marks[i] |= (raw[2 * i] == missing) & (raw[2 * i + 1] == T(0)) ? kNodata : kValid;
  }
}

}  // namespace
}  // namespace hfd
