// How often each class is in a map: whole numbers, added.
#pragma once

#include <cstdint>

#include "common/views.h"

namespace hfd {

// Adds the bytes of a plane, whose columns are neighbours, to counts[classes + 1]: what is no class (nodata) to the last.
// 1 <= classes <= 255.
void count_labels_cpu(const Plane& labels, int classes, int64_t* counts);

}  // namespace hfd
