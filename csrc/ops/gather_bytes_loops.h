// The loops that make bytes of two rows of network input. Included by one file per instruction set: no inline function of another
// header, nothing with a name outside.
#pragma once

#include "common/lanes.h"
#include "ops/gather_bytes.h"

namespace hfd {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first band's byte is the lowest of a word");

// Adding it rounds to a whole number, halves to the even one, kept in the low bits.
constexpr float kRounds = 12582912.0f;  // 1.5 * 2^23
constexpr uint32_t kRoundsBits = 0x4b400000u;

// What is no number becomes 0.
template <class T>
inline typename Of<T>::Unsigned byte_of(const T& value, const ByteScale& by) {
  const T low = every<T>(static_cast<float>(-by.zero)), high = every<T>(static_cast<float>(255 - by.zero));
  const T inside = Of<T>::lower(Of<T>::higher(value / by.scale, low), high);
  return bits_of(inside + kRounds) - (kRoundsBits - static_cast<uint32_t>(by.zero));
}

template <class T>
inline void add_byte(const float* value, const ByteScale& by, int64_t band, uint32_t* word) {
  using Unsigned = typename Of<T>::Unsigned;
  const Unsigned byte = byte_of(load_lanes<T>(value), by) << static_cast<int>(8 * band);
  store_lanes(band == 0 ? byte : load_lanes<Unsigned>(word) | byte, word);
}

// The bytes of every pixel's bands as one word.
void words_of(const ByteRows& rows, const float* values, uint32_t* words) {
  for (int64_t b = 0; b < rows.bands; ++b, values += rows.cols) {
    int64_t at = 0;
    for (; at + kLanes <= rows.cols; at += kLanes) add_byte<Floats>(values + at, rows.by, b, words + at);
    for (; at < rows.cols; ++at) add_byte<float>(values + at, rows.by, b, words + at);
  }
}

// Two neighbours as one number, the first in its lower half.
inline uint64_t pair_at(const uint32_t* words, int64_t cell) { return load_lanes<uint64_t>(words + 2 * cell); }

void cells_of_one(const uint32_t* __restrict even, const uint32_t* __restrict odd, int64_t cells, uint8_t* __restrict out) {
  for (int64_t q = 0; q < cells; ++q) {
    const uint64_t above = pair_at(even, q), below = pair_at(odd, q);
    const uint64_t top = (above | above >> 24) & 0xffffu, bottom = (below | below >> 24) & 0xffffu;
    store_lanes(static_cast<uint32_t>(top | bottom << 16), out + 4 * q);
  }
}

void cells_of_two(const uint32_t* __restrict even, const uint32_t* __restrict odd, int64_t cells, uint8_t* __restrict out) {
  for (int64_t q = 0; q < cells; ++q) {
    const uint64_t above = pair_at(even, q), below = pair_at(odd, q);
    const uint64_t top = (above | above >> 16) & 0xffffffffu, bottom = below | below >> 16;
    store_lanes(top | bottom << 32, out + 8 * q);
  }
}

void cells_of_many(const ByteRows& rows, const uint32_t* odd) {
  uint8_t* out = rows.cells;
  for (int64_t c = 0; c < rows.cols; c += 2)
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t b = 0; b < rows.bands; ++b) *out++ = static_cast<uint8_t>((i < 2 ? rows.words : odd)[c + i % 2] >> 8 * b);
}

void byte_rows(const ByteRows& rows) {
  uint32_t* odd = rows.words + rows.cols;
  words_of(rows, rows.even, rows.words);
  words_of(rows, rows.odd, odd);
  if (rows.bands == 1) return cells_of_one(rows.words, odd, rows.cols / 2, rows.cells);
  if (rows.bands == 2) return cells_of_two(rows.words, odd, rows.cols / 2, rows.cells);
  cells_of_many(rows, odd);
}

}  // namespace
}  // namespace hfd
