// The widest vector of float32 and of int32 that the flags of the including file allow, as the compiler's own vector types: + - *
// and comparisons work lane by lane and round as the scalar ones do.
#pragma once

#include <cstdint>
#include <cstring>

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
typedef uint8_t Bytes __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));  // as a mask: all bits of a lane, or none

inline Floats load_lanes(const float* from) {
  Floats lanes;
  memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline Ints load_ints(const int32_t* from) {
  Ints lanes;
  memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

constexpr int64_t kBytes = sizeof(Bytes);

inline Bytes load_bytes(const uint8_t* from) {
  Bytes lanes;
  memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline int64_t sum_bytes(const Bytes& bytes) {
  constexpr uint64_t kOdd = 0x00ff00ff00ff00ffu;
  uint64_t words[kBytes / 8], pairs = 0;
  memcpy(words, &bytes, sizeof words);
  for (const uint64_t word : words) pairs += (word & kOdd) + (word >> 8 & kOdd);  // at most 8 times 510 each
  return static_cast<int64_t>((pairs * 0x0001000100010001u) >> 48);
}

template <class Lanes, class T>
inline void store_lanes(const Lanes& lanes, T* to) {
  memcpy(to, &lanes, sizeof lanes);
}

}  // namespace
}  // namespace hfd
