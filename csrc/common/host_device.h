// HFD_HD marks the maths that both compilers read: the formula stands once, the loops around it twice. Static, so that a file
// compiled for newer processors keeps its own copy: the linker would pick any one of several inline ones (csrc/ops/row_loops.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define HFD_HD_ONLY __host__ __device__ inline
#define HFD_DEVICE __device__ inline  // what kernels alone call
#else
#define HFD_HD_ONLY inline __attribute__((always_inline))
#define HFD_DEVICE inline __attribute__((always_inline))
#endif
#define HFD_HD static HFD_HD_ONLY
#ifdef __CUDA_ARCH__
#define HFD_UNROLL _Pragma("unroll")
#define HFD_ROLLED _Pragma("unroll 1")
#else
#define HFD_ROLLED
#define HFD_UNROLL  // a host's compiler knows the word otherwise, and warns
#endif

namespace hfd {

// The maths is written for one number or for a vector of them (common/lanes.h): T is float or Floats, and Of<T> tells the rest.
template <class T>
struct Of;

template <>
struct Of<float> {
  using Signed = int32_t;
  using Unsigned = uint32_t;
  static HFD_HD_ONLY float to_float(int32_t value) { return static_cast<float>(value); }
  static HFD_HD_ONLY int32_t to_int(float value) { return static_cast<int32_t>(value); }  // towards 0
  static HFD_HD_ONLY float root(float value) { return sqrtf(value); }
  static HFD_HD_ONLY float lower(float a, float b) { return a < b ? a : b; }   // b where one is no number
  static HFD_HD_ONLY float higher(float a, float b) { return a > b ? a : b; }  // b where one is no number
  static HFD_HD_ONLY uint32_t mask(bool condition) { return condition ? ~0u : 0u; }  // all bits, or none
};

// The same bits, read as another type.
template <class To, class From>
HFD_HD To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bits_as changes no size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

template <class T>
HFD_HD typename Of<T>::Unsigned bits_of(const T& value) {
  return bits_as<typename Of<T>::Unsigned>(value);
}

// All bits where a value is infinite or no number.
template <class T>
HFD_HD typename Of<T>::Unsigned not_finite(const T& value) {
  return Of<T>::mask((bits_of(value) & 0x7f800000u) == 0x7f800000u);
}

template <class T>
HFD_HD T every(float value) {
  return T{} + value;
}

}  // namespace hfd
