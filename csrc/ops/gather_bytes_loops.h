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

// What is the same for all pixels, once per row: for all that the compiler knows, a word that is written changes the scale.
template <class T>
struct BytesBy {
  T scale, inverse, low, high;
  uint32_t from;  // byte 0, as bits of a rounded number
};

template <class T>
inline BytesBy<T> bytes_by(const ByteScale& by) {
  return {every<T>(by.scale), every<T>(1.0f / by.scale), every<T>(static_cast<float>(-by.zero)), every<T>(static_cast<float>(255 - by.zero)),
          kRoundsBits - static_cast<uint32_t>(by.zero)};
}

// What is no number becomes byte 0.
template <class T>
inline T cut_off(const T& steps, const BytesBy<T>& by) {
  return Of<T>::lower(Of<T>::higher(steps, by.low), by.high);
}

inline uint32_t byte_of(float value, const BytesBy<float>& by) { return bits_of(cut_off(value / by.scale, by) + kRounds) - by.from; }

// A division costs as much as all the rest. The product with 1 / scale lies within 2^-14 of it where the byte is not cut off, and rounds
// alike unless it lies that near to a half: then, a few times in ten thousand, it is divided after all.
inline Unsigneds byte_of(const Floats& value, const BytesBy<Floats>& by) {
  constexpr int32_t kNearHalf = 0x3efff000;  // 1/2 - 2^-13
  const Floats steps = cut_off(value * by.inverse, by);
  Floats rounded = steps + kRounds;
  const Floats beside = steps - (rounded - kRounds);
  if (any_at_least(bits_as<Ints>(bits_of(beside) & 0x7fffffffu), kNearHalf)) rounded = cut_off(value / by.scale, by) + kRounds;
  return bits_of(rounded) - by.from;
}

// The bytes of a pixel's bands as one word.
template <class T>
inline typename Of<T>::Unsigned word_of(const float* values, int64_t bands, int64_t cols, const BytesBy<T>& by) {
  typename Of<T>::Unsigned word{};
  for (int64_t b = 0; b < bands; ++b) word |= byte_of(load_lanes<T>(values + b * cols), by) << static_cast<int>(8 * b);
  return word;
}

void words_of(const float* values, int64_t bands, int64_t cols, const ByteScale& by, uint32_t* words) {
  const auto lanes = bytes_by<Floats>(by);
  const auto single = bytes_by<float>(by);
  int64_t at = 0;
  for (; at + kLanes <= cols; at += kLanes) store_lanes(word_of(values + at, bands, cols, lanes), words + at);
  for (; at < cols; ++at) words[at] = word_of(values + at, bands, cols, single);
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
  words_of(rows.even, rows.bands, rows.cols, rows.by, rows.words);
  words_of(rows.odd, rows.bands, rows.cols, rows.by, odd);
  if (rows.bands == 1) return cells_of_one(rows.words, odd, rows.cols / 2, rows.cells);
  if (rows.bands == 2) return cells_of_two(rows.words, odd, rows.cols / 2, rows.cells);
  cells_of_many(rows.words, odd, rows);
}

}  // namespace
}  // namespace hfd
