// HFD_HD marks the maths that both compilers read: the formula stands once, the loops around it twice. Static, so that a file
// compiled for newer processors keeps its own copy: the linker would pick any one of several inline ones (csrc/ops/row_loops.h).
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define HFD_HD __host__ __device__ static inline
#else
#define HFD_HD static inline
#endif

namespace hfd {

HFD_HD uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HFD_HD float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

HFD_HD bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

}  // namespace hfd
