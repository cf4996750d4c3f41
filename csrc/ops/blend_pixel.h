// The maths of blending two overlapping tiles, for both compilers. Twin: tests/reference_blend.py::fuse.
#pragma once

#include "common/host_device.h"

namespace hfd {

constexpr int32_t kShareOne = 1 << 15;  // shares are whole numbers of 1 / kShareOne; hfd_edge/tiles/shares.py

// What two tiles say of one logit: `share` of it is the second's, the rest the first's. Where both say the same it is that, to the
// bit, and a share of 0 or kShareOne does not look at the other one: its NaN or infinity stays where it is.
HFD_HD float fuse(float first, float second, int32_t share) {
  const float weight = static_cast<float>(share) * (1.0f / kShareOne);  // exact: at most 16 bits, times a power of two
  const float both = first + weight * (second - first);
  return share == 0 || first == second ? first : share == kShareOne ? second : both;
}

// Which of two tiles a cell of the field holds already.
enum BlendState : uint8_t {
  kBlendNone = 0,    // neither: the new one is copied
  kBlendFirst = 1,   // the left or upper one: the new one is the second
  kBlendSecond = 2,  // the right or lower one: the new one is the first
};

}  // namespace hfd
