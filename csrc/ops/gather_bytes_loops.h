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

// The byte of value / scale, given as `steps`. What is no number becomes 0.
template <class T>
inline typename Of<T>::Unsigned byte_of(const T& steps, const ByteScale& by) {
  const T low = every<T>(static_cast<float>(-by.zero)), high = every<T>(static_cast<float>(255 - by.zero));
  const T inside = Of<T>::lower(Of<T>::higher(steps, low), high);
  return bits_of(inside + kRounds) - (kRoundsBits - static_cast<uint32_t>(by.zero));
}

inline uint32_t byte_of_one(float value, const ByteScale& by) { return byte_of(value / by.scale, by); }

// A division costs as much as all the rest. The product with 1 / scale lies within 2^-14 of it where the byte is not cut off, and rounds
// alike unless it lies that near to a half: then, a few times in ten thousand, it is divided after all.
inline Unsigneds bytes_of_lanes(const Floats& value, const ByteScale& by) {
  constexpr float kNearHalf = 0.5f - 0x1p-13f;
  const Floats steps = value * (1.0f / by.scale);
  const Floats beside = steps - ((steps + kRounds) - kRounds);
  const Ints doubtful = (beside > kNearHalf) | (beside < -kNearHalf);
  return byte_of(any_lane(doubtful) ? value / by.scale : steps, by);
}

template <class Word>
inline void add_bytes(const Word& bytes, int64_t band, uint32_t* words) {
  const Word moved = bytes << static_cast<int>(8 * band);
  store_lanes(band == 0 ? moved : load_lanes<Word>(words) | moved, words);
}

// The bytes of every pixel's bands as one word.
void words_of(const ByteRows& rows, const float* values, uint32_t* words) {
  for (int64_t b = 0; b < rows.bands; ++b, values += rows.cols) {
    int64_t at = 0;
    for (; at + kLanes <= rows.cols; at += kLanes) add_bytes(bytes_of_lanes(load_lanes<Floats>(values + at), rows.by), b, words + at);
    for (; at < rows.cols; ++at) add_bytes(byte_of_one(values[at], rows.by), b, words + at);
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

// The bytes of two neighbours, one after the other.
inline uint8_t* put_pair(const uint32_t* words, int64_t bands, uint8_t* out) {
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t b = 0; b < bands; ++b) *out++ = static_cast<uint8_t>(words[i] >> 8 * b);
  return out;
}

void cells_of_many(const uint32_t* even, const uint32_t* odd, const ByteRows& rows) {
  uint8_t* out = rows.cells;
  for (int64_t c = 0; c < rows.cols; c += 2) out = put_pair(odd + c, rows.bands, put_pair(even + c, rows.bands, out));
}

void byte_rows(const ByteRows& rows) {
  uint32_t* odd = rows.words + rows.cols;
  words_of(rows, rows.even, rows.words);
  words_of(rows, rows.odd, odd);
  if (rows.bands == 1) return cells_of_one(rows.words, odd, rows.cols / 2, rows.cells);
  if (rows.bands == 2) return cells_of_two(rows.words, odd, rows.cols / 2, rows.cells);
  cells_of_many(rows.words, odd, rows);
}

}  // namespace
}  // namespace hfd
