// finish: logits at their own stride to labels and a score, the softmax probability of one class: up-sampling, argmax, softmax and
// crop, fused. The up-sampled logits exist for one row of one block of columns per worker, never for a tile.
#pragma once

#include <cstdint>

#include "common/views.h"

namespace hfd {

constexpr int kMaxClasses = 255;
constexpr uint8_t kNodataLabel = 255;
constexpr int64_t kOwnClass = -1;  // the score is that of each pixel's label, the confidence

struct FinishCall {
  const float* logits;    // (classes, rows, cols), C order
  int64_t classes;
  Size logit_size;
  int64_t stride;         // one logit covers stride x stride pixels
  const uint8_t* status;  // (rows * stride, cols * stride), C order, see gather
  Size status_size;
  Point crop;             // first kept pixel
  Size kept;
  uint8_t* labels;        // kept size, rows label_stride bytes apart
  int64_t label_stride;
  uint8_t* score;         // as labels, or null: 0..254 for a probability of 0..1, 255 where there is no label
  int64_t score_stride;
  int threads;
  int64_t score_class = kOwnClass;  // whose probability the score is
};

struct FinishCounts {
  int64_t nodata = 0;  // kept pixels that were nodata
  int64_t nan = 0;     // kept valid pixels with a NaN among their logits
};

void check_finish(const FinishCall& call);      // throws std::invalid_argument
FinishCounts finish(const FinishCall& call);  // check, and the loops of the CPU

// The loops; `call` has been checked.
FinishCounts finish_cpu(const FinishCall& call);

}  // namespace hfd
