// A thread turns kEach bytes, all at once where they are all there and begin at a multiple of kEach.
#include "common/launch.h"
#include "ops/gather_pixel.h"
#include "ops/validity_cuda.h"

namespace hfd {
namespace {

constexpr int kEach = 16;

struct Bytes {
  uint8_t x[kEach];
};

struct ValidBody {
  static constexpr int kThreads = 256, kPhases = 1, kBlocksPerProcessor = 4;
  using Shared = NoShared;

  uint8_t* status;
  int64_t count;
  bool wide;

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared&) const {
    const int64_t first = (static_cast<int64_t>(at.block_x) * kThreads + at.thread) * kEach;
    if (wide && first + kEach <= count) {
      Bytes bytes;
      load_wide(status + first, bytes);
      HFD_UNROLL
      for (int i = 0; i < kEach; ++i) bytes.x[i] = bytes.x[i] != kNodata;
      store_wide(bytes, status + first);
    } else {
      for (int64_t i = first; i < count && i < first + kEach; ++i) status[i] = status[i] != kNodata;
    }
  }
};

}  // namespace

void valid_of_status_cuda(uint8_t* status, int64_t count, const CudaQueue& queue) {
  const ValidBody body{status, count, reinterpret_cast<uintptr_t>(status) % kEach == 0};
  launch(body, {pieces_of(count, int64_t{ValidBody::kThreads} * kEach)}, queue, "making a mask");
}

}  // namespace hfd
