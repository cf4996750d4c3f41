// The loops of gather over one row: each is plain and over memory in the first-level cache, so that the compiler makes vectors of
// it (docs/vectorisation.md). Included by one file per instruction set: no inline function of another header, nothing with a name
// outside.
#pragma once

#include "common/lanes.h"
#include "ops/gather_row.h"

namespace hfd {
namespace {

// One band of one run of columns: sources `step` bytes apart, outputs adjacent.
struct Span {
  const char* source;
  int64_t step;
  float* value;      // in the tile
  float* imaginary;  // scratch, complex only
  uint32_t* marks;   // Status bits
  int64_t count;
};

template <class T>
inline T load(const char* address) {
  T value;
  memcpy(&value, address, sizeof value);
  return value;
}

// Calls body(index, address of the source) along a span; a stride known when compiling keeps the loop vectorisable.
template <int64_t kSize, class Body>
inline void along(const Span& span, const Body& body) {
  const char* source = span.source;
  const int64_t step = span.step, count = span.count;
  if (step == kSize) {
    for (int64_t i = 0; i < count; ++i) body(i, source + i * kSize);
  } else {
    for (int64_t i = 0; i < count; ++i) body(i, source + i * step);
  }
}

template <class T>
void mark_nodata(const GatherPlan& plan, int64_t first, const Span& span) {
  uint32_t* __restrict marks = span.marks;
  for (int64_t n = first; n < plan.nodata_count; ++n) {
    const T missing = static_cast<T>(plan.nodata[n]);
    along<sizeof(T)>(span, [=](int64_t i, const char* at) { marks[i] |= load<T>(at) == missing ? kNodata : kValid; });
  }
}

// Stored numbers as float32; the first nodata value is looked for on the way.
template <class T>
void load_span(const GatherPlan& plan, const Span& span) {
  float* __restrict value = span.value;
  uint32_t* __restrict marks = span.marks;
  const T missing = plan.nodata_count > 0 ? static_cast<T>(plan.nodata[0]) : T(0);
  const uint32_t mark = plan.nodata_count > 0 ? kNodata : kValid;
  along<sizeof(T)>(span, [=](int64_t i, const char* at) {
    const T raw = load<T>(at);
    value[i] = static_cast<float>(raw);
    marks[i] |= raw == missing ? mark : kValid;
  });
  mark_nodata<T>(plan, 1, span);
}

// A complex pixel equals a nodata value if its real part does and its imaginary part is 0.
template <class T>
void load_complex_span(const GatherPlan& plan, const Span& span) {
  float *__restrict value = span.value, *__restrict imaginary = span.imaginary;
  uint32_t* __restrict marks = span.marks;
  along<2 * sizeof(T)>(span, [=](int64_t i, const char* at) {
    value[i] = static_cast<float>(load<T>(at));
    imaginary[i] = static_cast<float>(load<T>(at + sizeof(T)));
    marks[i] |= not_finite(imaginary[i]) & kNodata;
  });
  for (int64_t n = 0; n < plan.nodata_count; ++n) {
    const T missing = static_cast<T>(plan.nodata[n]);
    along<2 * sizeof(T)>(span, [=](int64_t i, const char* at) {
      marks[i] |= (load<T>(at) == missing) & (load<T>(at + sizeof(T)) == T(0)) ? kNodata : kValid;
    });
  }
}

// float32 that lie side by side are read where they are, and convert() looks for the first nodata value.
const char* load_float_span(const GatherPlan& plan, const Span& span) {
  mark_nodata<float>(plan, 1, span);
  if (span.step == sizeof(float)) return span.source;
  float* __restrict value = span.value;
  along<sizeof(float)>(span, [=](int64_t i, const char* at) { value[i] = load<float>(at); });
  return reinterpret_cast<const char*>(span.value);
}

// Where convert() finds the span's values as float32.
const char* load_any(const GatherPlan& plan, const Span& span) {
  switch (plan.element) {
    case Element::u8: load_span<uint8_t>(plan, span); break;
    case Element::i8: load_span<int8_t>(plan, span); break;
    case Element::u16: load_span<uint16_t>(plan, span); break;
    case Element::i16: load_span<int16_t>(plan, span); break;
    case Element::u32: load_span<uint32_t>(plan, span); break;
    case Element::i32: load_span<int32_t>(plan, span); break;
    case Element::f32: return load_float_span(plan, span);
    case Element::f64: load_span<double>(plan, span); break;
    case Element::c64: load_complex_span<float>(plan, span); break;
    case Element::c128: load_complex_span<double>(plan, span); break;
  }
  return reinterpret_cast<const char*>(span.value);
}

template <class T>
inline ConversionOf<T> conversion(const GatherPlan& plan, const Normal& normal) {
  const bool looks = plan.element == Element::f32 && plan.nodata_count > 0;
  const float missing = looks ? static_cast<float>(plan.nodata[0]) : __builtin_nanf("");
  return {every<T>(missing), every<T>(plan.scale), every<T>(plan.offset), every<T>(plan.floor),
          {every<T>(normal.low), every<T>(normal.high), every<T>(normal.mean), every<T>(normal.gain)}};
}

template <Unit From, Unit To, bool kCalibrate, class T>
inline void convert(const ConversionOf<T>& by, const char* source, const Span& span, int64_t at) {
  using Unsigned = typename Of<T>::Unsigned;
  const T x = load_lanes<T>(source + at * static_cast<int64_t>(sizeof(float)));
  const T imaginary = From == Unit::complex ? load_lanes<T>(span.imaginary + at) : x;
  Unsigned marks = load_lanes<Unsigned>(span.marks + at);
  store_lanes(converted<From, To>(by, kCalibrate, x, imaginary, marks), span.value + at);
  store_lanes(marks, span.marks + at);
}

// Decibels of pixels whose power is usual (log_exp.h), as that of almost all is: they get no mark, and take half the instructions of
// converted(). False where the power of one is not.
template <Unit From, bool kCalibrate>
inline bool convert_usual(const ConversionOf<Floats>& by, const char* source, const Span& span, int64_t at) {
  const Floats x = load_lanes<Floats>(source + at * static_cast<int64_t>(sizeof(float)));
  const Floats imaginary = From == Unit::complex ? load_lanes<Floats>(span.imaginary + at) : x;
  const Floats power = calibrated_power<From>(by, kCalibrate, x, imaginary);
  if (any_at_least(rank_of(power), kUnusual)) return false;
  store_lanes(normalise(kDbPerLog2 * log2_of_usual(power, Floats{}), by.normal), span.value + at);
  return true;
}

// Whether convert_usual() may be asked: it does not look for the nodata value, nor at what becomes of decibels.
template <Unit From, Unit To, bool kCalibrate>
inline bool has_usual(const GatherPlan& plan, const ConversionOf<float>& by) {
  if (To != Unit::db || From == Unit::db || !plan.decibels_finite) return false;
  return rank_of(calibrated_power<From>(by, kCalibrate, by.missing, 0.0f)) >= kUnusual;
}

template <Unit From, Unit To, bool kCalibrate>
void convert_span(const GatherPlan& plan, const Normal& normal, const char* source, const Span& span) {
  const auto lanes = conversion<Floats>(plan, normal);
  const auto single = conversion<float>(plan, normal);
  int64_t at = 0;
  const bool usual = has_usual<From, To, kCalibrate>(plan, single);
  for (; at + kLanes <= span.count; at += kLanes)
    if (!usual || !convert_usual<From, kCalibrate>(lanes, source, span, at)) convert<From, To, kCalibrate>(lanes, source, span, at);
  for (; at < span.count; ++at) convert<From, To, kCalibrate>(single, source, span, at);
}

using Convert = void (*)(const GatherPlan&, const Normal&, const char*, const Span&);

template <Unit From, Unit To>
Convert converter_between(const GatherPlan& plan) {
  return plan.scale == 1.0f && plan.offset == 0.0f ? convert_span<From, To, false> : convert_span<From, To, true>;
}

template <Unit From>
Convert converter_from(const GatherPlan& plan) {
  if (plan.model_unit == Unit::amplitude) return converter_between<From, Unit::amplitude>(plan);
  if (plan.model_unit == Unit::db) return converter_between<From, Unit::db>(plan);
  return converter_between<From, Unit::intensity>(plan);
}

Convert converter(const GatherPlan& plan) {
  switch (plan.unit) {
    case Unit::intensity: return converter_from<Unit::intensity>(plan);
    case Unit::amplitude: return converter_from<Unit::amplitude>(plan);
    case Unit::db: return converter_from<Unit::db>(plan);
    case Unit::complex: return converter_from<Unit::complex>(plan);
    case Unit::dn: break;
  }
  return converter_between<Unit::dn, Unit::dn>(plan);
}

// Marks of a row as its status; gives all their bits. A function of its own: the compiler must see that bytes written here are no
// part of what the loop's bounds are read from, or it makes one pixel at a time of it, in half of gather's time.
uint32_t store_status(const uint32_t* __restrict marks, uint8_t* __restrict status, int64_t count) {
  uint32_t seen = 0;
  for (int64_t i = 0; i < count; ++i) {
    seen |= marks[i];
    status[i] = static_cast<uint8_t>(status_of(marks[i]));
  }
  return seen;
}

// Nodata in one band is nodata in all: these pixels enter the network as 0.
void finish_gathered(const GatherPlan& plan, const GatherRow& row) {
  if (!(store_status(row.marks, row.status, plan.cols) & kNodata)) return;
  const uint32_t* __restrict marks = row.marks;
  for (int64_t b = 0; b < plan.bands; ++b) {
    float* __restrict value = row.tile + b * plan.plane;
    for (int64_t i = 0; i < plan.cols; ++i) value[i] = marks[i] & kNodata ? 0.0f : value[i];
  }
}

void mark_invalid(const GatherPlan& plan, const GatherRow& row) {
  for (int64_t r = 0; r < plan.run_count; ++r) {
    const Run run = plan.runs[r];
    uint32_t* __restrict marks = row.marks + run.at;
    const Span span{row.valid + run.from * plan.valid_stride, run.step * plan.valid_stride, nullptr, nullptr, marks, run.count};
    along<1>(span, [=](int64_t i, const char* at) { marks[i] |= *at == 0 ? kNodata : kValid; });
  }
}

// Asks for the pixels of a row before their turn: a row of a tile is short and the next one is a scene's width away, which the
// processor does not foresee.
void ask_for(const GatherPlan& plan, const Run& run, const char* row) {
  constexpr int64_t kLine = 64;
  if (plan.col_stride > kLine || plan.col_stride < -kLine) return;
  const int64_t first = run.from * plan.col_stride, last = first + run.step * (run.count - 1) * plan.col_stride;
  const int64_t low = first < last ? first : last, high = first < last ? last : first;
  for (int64_t at = low; at <= high; at += kLine) __builtin_prefetch(row + at);
}

void gather_row(const GatherPlan& plan, const GatherRow& row) {
  const Convert convert_any = converter(plan);
  memset(row.marks, 0, plan.cols * sizeof *row.marks);
  if (row.valid != nullptr) mark_invalid(plan, row);
  for (int64_t b = 0; b < plan.bands; ++b)
    for (int64_t r = 0; r < plan.run_count; ++r) {
      const Run run = plan.runs[r];
      if (row.soon != nullptr) ask_for(plan, run, row.soon + b * plan.band_stride);
      const Span span{row.values + b * plan.band_stride + run.from * plan.col_stride, run.step * plan.col_stride,
                      row.tile + b * plan.plane + run.at, row.imaginary == nullptr ? nullptr : row.imaginary + run.at,
                      row.marks + run.at, run.count};
      convert_any(plan, plan.normal[b], load_any(plan, span), span);
    }
  finish_gathered(plan, row);
}

}  // namespace
}  // namespace hfd
