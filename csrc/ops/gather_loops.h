// The loops of gather over one row: each is plain and over memory in the first-level cache, so that the compiler makes vectors of it
// (docs/vectorisation.md). Included by one file per instruction set: no inline function of another header, nothing with a name
// outside.
#pragma once

#include "common/lanes.h"
#include "ops/gather_row.h"

namespace hfd {
namespace {

// One band of one row.
struct BandRow {
  float* value;      // the tile's row
  float* imaginary;  // scratch, complex only
  uint32_t* marks;   // Status bits
  int64_t cols;
};

template <class T>
inline T load(const char* address) {
  T value;
  memcpy(&value, address, sizeof value);
  return value;
}

// Calls body(output index, address of the source) along all runs; a stride known when compiling keeps the loop vectorisable.
template <int64_t kSize, class Body>
inline void along(const GatherPlan& plan, const char* row, int64_t col_stride, const Body& body) {
  for (int64_t r = 0; r < plan.run_count; ++r) {
    const Run run = plan.runs[r];
    const char* first = row + run.from * col_stride;
    const int64_t step = run.step * col_stride;
    if (step == kSize) {
      for (int64_t i = 0; i < run.count; ++i) body(run.at + i, first + i * kSize);
    } else {
      for (int64_t i = 0; i < run.count; ++i) body(run.at + i, first + i * step);
    }
  }
}

template <class T>
inline uint32_t unless_finite(T value) {
  return not_finite(static_cast<float>(value)) & kNodata;
}

// Stored numbers as float32; the first nodata value is looked for on the way.
template <class T, bool kFloating>
void load_row(const GatherPlan& plan, const char* source, const BandRow& row) {
  float* __restrict value = row.value;
  uint32_t* __restrict marks = row.marks;
  const T missing = plan.nodata_count > 0 ? static_cast<T>(plan.nodata[0]) : T(0);
  const uint32_t mark = plan.nodata_count > 0 ? kNodata : kValid;
  along<sizeof(T)>(plan, source, plan.col_stride, [=](int64_t i, const char* at) {
    const T raw = load<T>(at);
    value[i] = static_cast<float>(raw);
    marks[i] |= (raw == missing ? mark : kValid) | (kFloating ? unless_finite(raw) : kValid);
  });
  for (int64_t n = 1; n < plan.nodata_count; ++n) {
    const T other = static_cast<T>(plan.nodata[n]);
    along<sizeof(T)>(plan, source, plan.col_stride,
                     [=](int64_t i, const char* at) { marks[i] |= load<T>(at) == other ? kNodata : kValid; });
  }
}

// A complex pixel equals a nodata value if its real part does and its imaginary part is 0.
template <class T>
void load_complex_row(const GatherPlan& plan, const char* source, const BandRow& row) {
  float *__restrict value = row.value, *__restrict imaginary = row.imaginary;
  uint32_t* __restrict marks = row.marks;
  along<2 * sizeof(T)>(plan, source, plan.col_stride, [=](int64_t i, const char* at) {
    const T real = load<T>(at), other = load<T>(at + sizeof(T));
    value[i] = static_cast<float>(real);
    imaginary[i] = static_cast<float>(other);
    marks[i] |= unless_finite(real) | unless_finite(other);
  });
  for (int64_t n = 0; n < plan.nodata_count; ++n) {
    const T missing = static_cast<T>(plan.nodata[n]);
    along<2 * sizeof(T)>(plan, source, plan.col_stride, [=](int64_t i, const char* at) {
      marks[i] |= (load<T>(at) == missing) & (load<T>(at + sizeof(T)) == T(0)) ? kNodata : kValid;
    });
  }
}

void load_any(const GatherPlan& plan, const char* source, const BandRow& row) {
  switch (plan.element) {
    case Element::u8: return load_row<uint8_t, false>(plan, source, row);
    case Element::i8: return load_row<int8_t, false>(plan, source, row);
    case Element::u16: return load_row<uint16_t, false>(plan, source, row);
    case Element::i16: return load_row<int16_t, false>(plan, source, row);
    case Element::u32: return load_row<uint32_t, false>(plan, source, row);
    case Element::i32: return load_row<int32_t, false>(plan, source, row);
    case Element::f32: return load_row<float, true>(plan, source, row);
    case Element::f64: return load_row<double, true>(plan, source, row);
    case Element::c64: return load_complex_row<float>(plan, source, row);
    case Element::c128: return load_complex_row<double>(plan, source, row);
  }
}

// Everything that convert() needs beside the pixels, once per vector of them or once per number.
template <class T>
struct Conversion {
  T scale, offset, floor;
  NormalOf<T> normal;
};

template <class T>
inline Conversion<T> conversion(const GatherPlan& plan, const Normal& normal) {
  return {every<T>(plan.scale), every<T>(plan.offset), every<T>(plan.floor),
          {every<T>(normal.floor), every<T>(normal.low), every<T>(normal.high), every<T>(normal.mean), every<T>(normal.gain)}};
}

// Calibration, unit, floor, clip and z-score of one vector, or of one number. A value beyond float32 after all of them is nodata as
// well: the network never sees a number that is not finite.
template <Unit From, Unit To, bool kCalibrate, class T>
inline void convert(const Conversion<T>& by, const BandRow& row, int64_t at) {
  using Unsigned = typename Of<T>::Unsigned;
  T x = load_lanes<T>(row.value + at);
  if (kCalibrate) x = x * by.scale + by.offset;
  Unsigned marks = load_lanes<Unsigned>(row.marks + at);
  if (knows_power(From, To)) {
    T imaginary = From == Unit::complex ? load_lanes<T>(row.imaginary + at) : x;
    if (kCalibrate && From == Unit::complex) imaginary = imaginary * by.scale;
    const T power = power_of<From>(x, imaginary);
    marks |= Of<T>::mask(power <= 0.0f) & static_cast<uint32_t>(kNoSignal);
    if (From != To) x = from_power<To>(power, by.floor);
  }
  x = normalise(x, by.normal);
  store_lanes(x, row.value + at);
  store_lanes(marks | (not_finite(x) & static_cast<uint32_t>(kNodata)), row.marks + at);
}

template <Unit From, Unit To, bool kCalibrate>
void convert_row(const GatherPlan& plan, const Normal& normal, const BandRow& row) {
  const auto lanes = conversion<Floats>(plan, normal);
  const auto single = conversion<float>(plan, normal);
  int64_t at = 0;
  for (; at + kLanes <= row.cols; at += kLanes) convert<From, To, kCalibrate>(lanes, row, at);
  for (; at < row.cols; ++at) convert<From, To, kCalibrate>(single, row, at);
}

template <Unit From, Unit To>
void convert_calibrated(const GatherPlan& plan, const Normal& normal, const BandRow& row) {
  if (plan.scale == 1.0f && plan.offset == 0.0f) return convert_row<From, To, false>(plan, normal, row);
  convert_row<From, To, true>(plan, normal, row);
}

template <Unit From>
void convert_from(const GatherPlan& plan, const Normal& normal, const BandRow& row) {
  if (plan.model_unit == Unit::amplitude) return convert_calibrated<From, Unit::amplitude>(plan, normal, row);
  if (plan.model_unit == Unit::db) return convert_calibrated<From, Unit::db>(plan, normal, row);
  convert_calibrated<From, Unit::intensity>(plan, normal, row);
}

void convert_any(const GatherPlan& plan, const Normal& normal, const BandRow& row) {
  switch (plan.unit) {
    case Unit::intensity: return convert_from<Unit::intensity>(plan, normal, row);
    case Unit::amplitude: return convert_from<Unit::amplitude>(plan, normal, row);
    case Unit::db: return convert_from<Unit::db>(plan, normal, row);
    case Unit::complex: return convert_from<Unit::complex>(plan, normal, row);
    case Unit::dn: return convert_calibrated<Unit::dn, Unit::dn>(plan, normal, row);
  }
}

// Nodata in one band is nodata in all: these pixels enter the network as 0.
void finish_gathered(const GatherPlan& plan, const GatherRow& row) {
  const uint32_t* __restrict marks = row.marks;
  uint8_t* __restrict status = row.status;
  uint32_t seen = 0;
  for (int64_t i = 0; i < plan.cols; ++i) {
    seen |= marks[i];
    status[i] = static_cast<uint8_t>(marks[i] & kNodata ? static_cast<uint32_t>(kNodata) : marks[i]);
  }
  if (!(seen & kNodata)) return;
  for (int64_t b = 0; b < plan.bands; ++b) {
    float* __restrict value = row.tile + b * plan.plane;
    for (int64_t i = 0; i < plan.cols; ++i) value[i] = marks[i] & kNodata ? 0.0f : value[i];
  }
}

void gather_row(const GatherPlan& plan, const GatherRow& row) {
  uint32_t* __restrict marks = row.marks;
  memset(marks, 0, plan.cols * sizeof *marks);
  if (row.valid != nullptr)
    along<1>(plan, row.valid, plan.valid_stride,
             [=](int64_t i, const char* at) { marks[i] |= *at == 0 ? kNodata : kValid; });
  for (int64_t b = 0; b < plan.bands; ++b) {
    const BandRow band{row.tile + b * plan.plane, row.imaginary, row.marks, plan.cols};
    load_any(plan, row.values + b * plan.band_stride, band);
    convert_any(plan, plan.normal[b], band);
  }
  finish_gathered(plan, row);
}

}  // namespace
}  // namespace hfd
