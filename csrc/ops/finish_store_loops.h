// The loops that take a block's labels and scores to the map. Included by one file per instruction set, with finish_loops.h: no inline
// function of another header, nothing with a name outside.
#pragma once

#include "common/lanes.h"
#include "ops/finish_block.h"
#include "ops/finish_pixel.h"

namespace hfd {
namespace {

// kBytes statuses, or the `count` that are left, filled up with nodata; `end` is that of the whole plane. Loaded as one wherever the plane
// goes on: a vector put together from pieces would wait until every store before it, labels on their way to memory too, is done.
inline Bytes load_status(const uint8_t* status, int64_t count, const uint8_t* end) {
  if (count >= kBytes) return load_lanes<Bytes>(status);
  Bytes some = Bytes{} + uint8_t{1};
  if (end - status >= kBytes) {
    const Bytes own = first_lanes(count);
    return (load_lanes<Bytes>(status) & own) | (some & ~own);
  }
  memcpy(&some, status, count);
  return some;
}

inline void store_some(const Bytes& bytes, uint8_t* to, int64_t count) {
  if (count >= kBytes) return store_lanes(bytes, to);
#if defined(__AVX512BW__)
  _mm512_mask_storeu_epi8(to, (uint64_t{1} << count) - 1, (__m512i)bytes);
#else
  memcpy(to, &bytes, count);
#endif
}

// Nodata is counted before NaN: what the network says about a hole is of no interest. At most 255 vectors: a byte counts them.
void store_labels_piece(const uint8_t* status, const uint8_t* end, uint8_t* made, uint8_t* labels, int64_t cols, FinishCounts& counts) {
  Bytes holes{}, broken{};
  for (int64_t at = 0; at < cols; at += kBytes) {
    const Bytes label = load_lanes<Bytes>(made + at);
    const Bytes hole = (Bytes)(load_status(status + at, cols - at, end) == 1), bad = (Bytes)(label == kNodataLabel);
    holes -= hole;  // a mask is -1
    broken -= bad & ~hole;
    store_lanes(label | hole, made + at);
    store_some(label | hole, labels + at, cols - at);
  }
  const int64_t filled_up = (kBytes - cols % kBytes) % kBytes;
  counts.nodata += sum_bytes(holes) - filled_up;
  counts.nan += sum_bytes(broken);
}

// Asks for the status and the labels of a later row: a block's rows are short and a map's width apart, which the processor does not
// foresee.
void ask_for_row(const FinishCall& call, const FinishBlock& block, int64_t row) {
  constexpr int64_t kLine = 64;
  const uint8_t* status = call.status + (call.crop.row + row) * call.status_size.cols + call.crop.col + block.col;
  const uint8_t* labels = call.labels + row * call.label_stride + block.col;
  for (int64_t at = 0; at < block.cols; at += kLine) {
    __builtin_prefetch(status + at);
    __builtin_prefetch(labels + at, 1);
  }
}

void store_labels(const FinishCall& call, const FinishBlock& block, int64_t row, FinishScratch& scratch) {
  constexpr int64_t kAhead = 4;
  if (row + kAhead < block.row + block.rows) ask_for_row(call, block, row + kAhead);
  const uint8_t* status = call.status + (call.crop.row + row) * call.status_size.cols + call.crop.col + block.col;
  const uint8_t* end = call.status + call.status_size.rows * call.status_size.cols;
  uint8_t *labels = call.labels + row * call.label_stride + block.col, *made = scratch.labels + block.skipped;
  constexpr int64_t kPiece = 255 * kBytes;
  for (int64_t at = 0; at < block.cols; at += kPiece) {
    const int64_t cols = block.cols - at < kPiece ? block.cols - at : kPiece;
    store_labels_piece(status + at, end, made + at, labels + at, cols, scratch.counts);
  }
}

void store_score(const FinishCall& call, const FinishBlock& block, int64_t row, const FinishScratch& scratch) {
  uint8_t* score = call.score + row * call.score_stride + block.col;
  const uint8_t *labels = scratch.labels + block.skipped, *made = scratch.score + block.skipped;
  for (int64_t at = 0; at < block.cols; at += kBytes) {
    const Bytes gone = (Bytes)(load_lanes<Bytes>(labels + at) == kNodataLabel);
    store_some(load_lanes<Bytes>(made + at) | gone, score + at, block.cols - at);
  }
}

}  // namespace
}  // namespace hfd
