// Which stored pixels are at the end of their scale, for both compilers. A number has one part, or the two of a complex one.
// Twin: hfd_edge/source/saturation.py.
#pragma once

#include "common/host_device.h"

namespace hfd {

// No NaN reaches anything; of a complex number either part counts, whatever its sign.
template <int kParts, class T>
HFD_HD bool reaches(const T (&number)[kParts], T level) {
  if constexpr (kParts == 1) {
    return number[0] >= level;
  } else {
    return number[0] >= level || -number[0] >= level || number[1] >= level || -number[1] >= level;
  }
}

template <int kParts, class T>
HFD_HD bool is_finite(const T (&number)[kParts]) {
  return number[0] - number[0] == T(0) && number[kParts - 1] - number[kParts - 1] == T(0);
}

// A complex number equals a nodata value if its real part does and its imaginary part is 0.
template <int kParts, class T>
HFD_HD bool is_nodata(const T (&number)[kParts], T missing) {
  return number[0] == missing && (kParts == 1 || number[kParts - 1] == T(0));
}

}  // namespace hfd
