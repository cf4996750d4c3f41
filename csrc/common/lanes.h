// The widest vector of float32 and of int32 that the flags of the including file allow, as the compiler's own vector types: + - *
// and comparisons work lane by lane and round as the scalar ones do.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace hfd {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr const char* kIsaName = "avx512";
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr const char* kIsaName = "avx2";
#else
constexpr int kLanes = 4;
#if defined(__SSE2__)
constexpr const char* kIsaName = "sse";
#elif defined(__ARM_NEON)
constexpr const char* kIsaName = "neon";
#else
constexpr const char* kIsaName = "plain";
#endif
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Unsigneds __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));  // as a mask: all bits of a lane, or none

template <class Lanes>
inline Lanes load_lanes(const void* from) {
  Lanes lanes;
  memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// The caller's floats may lie at any address.
inline float float_at(const float* from, int64_t index) { return load_lanes<float>(from + index); }

template <class Lanes>
inline void store_lanes(const Lanes& lanes, void* to) {
  memcpy(to, &lanes, sizeof lanes);
}

// Square roots, correctly rounded as the scalar one is.
inline Floats roots(const Floats& values) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_sqrt_ps(0xffff, (__m512)values);
#elif defined(__AVX2__)
  return (Floats)_mm256_sqrt_ps((__m256)values);
#elif defined(__SSE2__)
  return (Floats)_mm_sqrt_ps((__m128)values);
#elif defined(__ARM_NEON)
  return (Floats)vsqrtq_f32((float32x4_t)values);
#else
  Floats found;
  for (int i = 0; i < kLanes; ++i) found[i] = sqrtf(values[i]);
  return found;
#endif
}

// a < b ? a : b and a > b ? a : b, for which x86 has one instruction that its compilers do not see;
// NEON's take NaN otherwise.
inline Floats lower_lanes(const Floats& a, const Floats& b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Floats)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

inline Floats higher_lanes(const Floats& a, const Floats& b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Floats)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

// Whether a mask has a lane.
inline bool any_lane(const Ints& mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask) != 0;
#elif defined(__ARM_NEON)
  return vmaxvq_u32((uint32x4_t)mask) != 0;
#else
  int32_t all = 0;
  for (int i = 0; i < kLanes; ++i) all |= mask[i];
  return all != 0;
#endif
}

// Whether a lane is `limit` or more.
inline bool any_at_least(const Ints& values, int32_t limit) {
#if defined(__AVX512F__)
  return _mm512_cmpge_epi32_mask((__m512i)values, _mm512_set1_epi32(limit)) != 0;
#else
  return any_lane(values >= limit);
#endif
}

constexpr int64_t kBytes = sizeof(Bytes);

struct LaneMasks {
  uint8_t bits[2 * kBytes];
  constexpr LaneMasks() : bits() {
    for (int64_t i = 0; i < kBytes; ++i) bits[i] = 0xff;
  }
};
constexpr LaneMasks kLaneMasks;

// All bits of the first `count` bytes, 0 <= count <= kBytes.
inline Bytes first_lanes(int64_t count) { return load_lanes<Bytes>(kLaneMasks.bits + kBytes - count); }

inline int64_t sum_bytes(const Bytes& bytes) {
  constexpr uint64_t kOdd = 0x00ff00ff00ff00ffu;
  uint64_t words[kBytes / 8], pairs = 0;
  memcpy(words, &bytes, sizeof words);
  for (const uint64_t word : words) pairs += (word & kOdd) + (word >> 8 & kOdd);  // at most 8 times 510 each
  return static_cast<int64_t>((pairs * 0x0001000100010001u) >> 48);
}

}  // namespace

template <>
struct Of<Floats> {
  using Signed = Ints;
  using Unsigned = Unsigneds;
  static HFD_HD_ONLY Floats to_float(const Ints& values) { return __builtin_convertvector(values, Floats); }
  static HFD_HD_ONLY Ints to_int(const Floats& values) { return __builtin_convertvector(values, Ints); }
  static HFD_HD_ONLY Floats root(const Floats& values) { return roots(values); }
  static HFD_HD_ONLY Floats lower(const Floats& a, const Floats& b) { return lower_lanes(a, b); }
  static HFD_HD_ONLY Floats higher(const Floats& a, const Floats& b) { return higher_lanes(a, b); }
  static HFD_HD_ONLY Unsigneds mask(const Ints& condition) { return (Unsigneds)condition; }
};

}  // namespace hfd
