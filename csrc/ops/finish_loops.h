// The loops of finish over one block: rows downwards. A row of logits is stretched along its columns once and kept while the
// output rows that lie between it and its neighbour are made; what is left per pixel and class is one lerp with a constant weight and a
// comparison. Included by one file per instruction set: no inline function of another header, nothing with a name outside.
#pragma once

#include "common/lanes.h"
#include "ops/finish_block.h"
#include "ops/finish_pixel.h"
#include "ops/finish_store_loops.h"

namespace hfd {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weave() puts the first of four pixels into the lowest byte");

constexpr int kUnroll = 4;
constexpr int64_t kStep = kUnroll * kLanes;
static_assert(kStep <= kSlack, "scratch rows are made kSlack longer than their pixels");

// The logits of one output row: class c begins at above + c * pitch. Fraction 0 reads the row above alone.
struct Rows {
  const float *above, *below;
  int64_t pitch;
  float fraction;
  bool watch;  // a NaN may come up
};

template <bool kLerp>
inline Floats logits_at(const Rows& rows, int64_t at) {
  const Floats above = load_lanes<Floats>(rows.above + at);
  return kLerp ? lerp(above, load_lanes<Floats>(rows.below + at), rows.fraction) : above;
}

// Largest logit and its lowest class of kStep pixels; 255 where a NaN is among them.
template <bool kLerp, bool kWatch>
inline void argmax_step(const Rows& rows, int64_t classes, int64_t at, float* best, int32_t* number) {
  Floats leader[kUnroll];
  Ints winner[kUnroll], broken[kUnroll];
#pragma GCC unroll 4
  for (int u = 0; u < kUnroll; ++u) {
    leader[u] = logits_at<kLerp>(rows, at + u * kLanes);
    winner[u] = Ints{};
    broken[u] = leader[u] != leader[u];
  }
  for (int64_t c = 1; c < classes; ++c) {
    const Ints name = Ints{} + static_cast<int32_t>(c);
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      const Floats value = logits_at<kLerp>(rows, c * rows.pitch + at + u * kLanes);
      const Ints wins = value > leader[u];
      winner[u] = wins ? name : winner[u];
      leader[u] = Of<Floats>::higher(value, leader[u]);
      if (kWatch) broken[u] |= value != value;
    }
  }
#pragma GCC unroll 4
  for (int u = 0; u < kUnroll; ++u) {
    store_lanes(kWatch ? winner[u] | (broken[u] & kNodataLabel) : winner[u], number + at + u * kLanes);
    store_lanes(leader[u], best + at + u * kLanes);
  }
}

template <bool kLerp, bool kWatch>
void argmax_row(const Rows& rows, int64_t classes, int64_t count, const FinishScratch& scratch) {
  for (int64_t at = 0; at < count; at += kStep) argmax_step<kLerp, kWatch>(rows, classes, at, scratch.best, scratch.number);
}

void argmax(const Rows& rows, int64_t classes, int64_t count, const FinishScratch& scratch) {
  const bool lerps = rows.fraction > 0.0f;
  if (lerps && rows.watch) return argmax_row<true, true>(rows, classes, count, scratch);
  if (lerps) return argmax_row<true, false>(rows, classes, count, scratch);
  if (rows.watch) return argmax_row<false, true>(rows, classes, count, scratch);
  argmax_row<false, false>(rows, classes, count, scratch);
}

// The softmax of one class of kHalfStep pixels, as steps of a score: half as many, the constants need the registers.
constexpr int kHalf = kUnroll / 2;
constexpr int64_t kHalfStep = kHalf * kLanes;

template <bool kLerp>
inline void score_of_half_step(const Rows& rows, const FinishCall& call, int64_t at, const float* best, int32_t* number) {
  Floats leader[kHalf], sum[kHalf];
#pragma GCC unroll 4
  for (int u = 0; u < kHalf; ++u) {
    leader[u] = load_lanes<Floats>(best + at + u * kLanes);
    sum[u] = Floats{};
  }
  for (int64_t c = 0; c < call.classes; ++c) {
#pragma GCC unroll 4
    for (int u = 0; u < kHalf; ++u) sum[u] += softmax_term(logits_at<kLerp>(rows, c * rows.pitch + at + u * kLanes), leader[u]);
  }
#pragma GCC unroll 4
  for (int u = 0; u < kHalf; ++u) {
    if (call.score_class != kOwnClass)
      sum[u] /= softmax_term(logits_at<kLerp>(rows, call.score_class * rows.pitch + at + u * kLanes), leader[u]);
    store_lanes(score_step(sum[u]), number + at + u * kLanes);
  }
}

template <bool kLerp>
void score_row(const Rows& rows, const FinishCall& call, int64_t count, const FinishScratch& scratch) {
  for (int64_t at = 0; at < count; at += kHalfStep) score_of_half_step<kLerp>(rows, call, at, scratch.best, scratch.number);
}

void scores(const Rows& rows, const FinishCall& call, int64_t count, const FinishScratch& scratch) {
  if (rows.fraction > 0.0f) return score_row<true>(rows, call, count, scratch);
  score_row<false>(rows, call, count, scratch);
}

// Four phases of a cell are four neighbours: one 32-bit word. The last vector runs over the end, into the slack.
void weave_four(const int32_t* __restrict phase, int64_t cells, uint8_t* __restrict pixels) {
  for (int64_t q = 0; q < cells; q += kLanes) {
    const Ints low = load_lanes<Ints>(phase + q) | load_lanes<Ints>(phase + cells + q) << 8;
    const Ints high = load_lanes<Ints>(phase + 2 * cells + q) | load_lanes<Ints>(phase + 3 * cells + q) << 8;
    store_lanes(low | high << 16, pixels + 4 * q);
  }
}

// Numbers of 0..255, (phases, cells), to bytes in the order of the pixels.
void weave(const int32_t* __restrict number, int64_t stride, int64_t cells, uint8_t* __restrict pixels) {
  if (stride == 1) {
    for (int64_t q = 0; q < cells; ++q) pixels[q] = static_cast<uint8_t>(number[q]);
  } else if (stride == 4) {
    weave_four(number, cells, pixels);
  } else {
    for (int64_t p = 0; p < stride; ++p)
      for (int64_t q = 0; q < cells; ++q) pixels[q * stride + p] = static_cast<uint8_t>(number[p * cells + q]);
  }
}

void write_labels(const FinishCall& call, const FinishBlock& block, int64_t row, FinishScratch& scratch) {
  weave(scratch.number, call.stride, block.cells, scratch.labels);
  store_labels(call, block, row, scratch);
}

void write_score(const FinishCall& call, const FinishBlock& block, int64_t row, const FinishScratch& scratch) {
  weave(scratch.number, call.stride, block.cells, scratch.score);
  store_score(call, block, row, scratch);
}

// One class of one row of logits to (phases, cells).
void stretch_class(const float* __restrict row, int64_t count, int64_t stride, const FinishBlock& block, float* __restrict out) {
  const int64_t from = block.cell < 0 ? 0 : block.cell, end = block.cell + block.cells;
  const int64_t inner = end < count - 1 ? end : count - 1;  // cells before this have a logit on either side
  for (int64_t p = 0; p < stride; ++p) {
    const float fraction = phase_fraction(p, stride);
    float* __restrict phase = out + p * block.cells;
    const float* __restrict source = row + from;
    float* __restrict target = phase + (from - block.cell);
    if (fraction > 0.0f)
      for (int64_t i = 0; i < inner - from; ++i) target[i] = lerp(float_at(source, i), float_at(source, i + 1), fraction);
    else
      for (int64_t i = 0; i < inner - from; ++i) target[i] = float_at(source, i);
    if (block.cell < 0) phase[0] = float_at(row, 0);
    if (end >= count) phase[count - 1 - block.cell] = float_at(row, count - 1);
  }
}

// Whether all logits that the block reads are tame.
bool is_tame(const float* __restrict row, int64_t count, const FinishBlock& block) {
  const int64_t from = block.cell < 0 ? 0 : block.cell;
  const int64_t last = block.cell + block.cells < count ? block.cell + block.cells : count - 1;
  int32_t largest = 0;
  for (int64_t i = from; i <= last; ++i) {
    const int32_t bits = static_cast<int32_t>(bits_of(float_at(row, i)) & 0x7fffffffu);
    largest = bits > largest ? bits : largest;
  }
  return largest < static_cast<int32_t>(kTame);
}

// The two logit rows at hand.
struct Held {
  int64_t row[2] = {-1, -1};
  bool tame[2] = {false, false};
};

// Asks for the block's logits of a row before their turn.
void ask_for_logits(const float* row, int64_t count, const FinishBlock& block) {
  constexpr int64_t kLine = 16;  // logits
  const int64_t last = block.cell + block.cells < count ? block.cell + block.cells : count - 1;
  for (int64_t at = block.cell < 0 ? 0 : block.cell; at <= last; at += kLine) __builtin_prefetch(row + at);
}

// The slot of a stretched logit row, made now if it is not there; `other` is the row that must stay.
int stretched_slot(const FinishCall& call, const FinishBlock& block, int64_t row, int64_t other, Held& held,
                   FinishScratch& scratch) {
  if (held.row[0] == row) return 0;
  if (held.row[1] == row) return 1;
  const int slot = held.row[0] == other ? 1 : 0;
  held.row[slot] = row;
  held.tame[slot] = true;
  for (int64_t c = 0; c < call.classes; ++c) {
    const float* logits = call.logits + (c * call.logit_size.rows + row) * call.logit_size.cols;
    float* stretched = scratch.stretched + (slot * call.classes + c) * scratch.width;
    if (row + 1 < call.logit_size.rows) ask_for_logits(logits + call.logit_size.cols, call.logit_size.cols, block);
    stretch_class(logits, call.logit_size.cols, call.stride, block, stretched);
    held.tame[slot] = held.tame[slot] && is_tame(logits, call.logit_size.cols, block);
  }
  return slot;
}

void finish_stretched(const FinishCall& call, const FinishBlock& block, FinishScratch& scratch) {
  Held held;
  const int64_t size = call.classes * scratch.width;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    const Between at = between(call.crop.row + row, call.stride, call.logit_size.rows);
    const int above = stretched_slot(call, block, at.low, at.high, held, scratch);
    const int below = stretched_slot(call, block, at.high, at.low, held, scratch);
    const Rows rows{scratch.stretched + above * size, scratch.stretched + below * size, scratch.width, at.fraction,
                    !(held.tame[above] && held.tame[below])};
    const int64_t count = block.cells * call.stride;
    argmax(rows, call.classes, count, scratch);
    write_labels(call, block, row, scratch);
    if (call.score == nullptr) continue;
    scores(rows, call, count, scratch);
    write_score(call, block, row, scratch);
  }
}

// Logits of one to a pixel are read where they lie; the last pixels, which fill no vector, go through scratch.
void finish_as_is(const FinishCall& call, const FinishBlock& block, FinishScratch& scratch) {
  const int64_t plane = call.logit_size.rows * call.logit_size.cols, bulk = block.cols / kStep * kStep, rest = block.cols - bulk;
  FinishScratch tail = scratch;
  tail.best += bulk;
  tail.number += bulk;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    const float* logits = call.logits + (call.crop.row + row) * call.logit_size.cols + call.crop.col + block.col;
    const Rows rows{logits, nullptr, plane, 0.0f, true}, last{scratch.stretched, nullptr, scratch.width, 0.0f, true};
    for (int64_t c = 0; c < call.classes; ++c)
      memcpy(scratch.stretched + c * scratch.width, logits + c * plane + bulk, rest * sizeof *logits);
    argmax(rows, call.classes, bulk, scratch);
    argmax(last, call.classes, rest, tail);
    write_labels(call, block, row, scratch);
    if (call.score == nullptr) continue;
    scores(rows, call, bulk, scratch);
    scores(last, call, rest, tail);
    write_score(call, block, row, scratch);
  }
}

void finish_block(const FinishCall& call, const FinishBlock& block, FinishScratch& scratch) {
  if (call.stride == 1)
    finish_as_is(call, block, scratch);
  else
    finish_stretched(call, block, scratch);
}

}  // namespace
}  // namespace hfd
