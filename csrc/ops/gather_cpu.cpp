// Row by row: each step below is one plain loop over a row that lies in the first-level cache, so the compiler can use vectors.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "common/parallel.h"
#include "common/reflect.h"
#include "ops/gather.h"

namespace hfd {
namespace {

struct Row {
  float* value;      // the tile's row
  float* imaginary;  // scratch, complex only
  uint32_t* status;  // scratch, Status bits
  int64_t cols;
};

template <class T>
T load(const char* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

// Calls body(output index, address of the source) along all runs; a stride known at compile time keeps the loop vectorisable.
template <int64_t kSize, class Body>
void along(const std::vector<Run>& runs, const char* row, int64_t col_stride, const Body& body) {
  for (const Run& run : runs) {
    const char* first = row + run.from * col_stride;
    const int64_t step = run.step * col_stride;
    if (step == kSize) {
      for (int64_t i = 0; i < run.count; ++i) body(run.at + i, first + i * kSize);
    } else {
      for (int64_t i = 0; i < run.count; ++i) body(run.at + i, first + i * step);
    }
  }
}

// The declared nodata values that type T can hold at all; the others equal no pixel.
template <class T>
std::vector<T> representable(const std::vector<double>& nodata) {
  std::vector<T> kept;
  for (const double value : nodata) {
    const bool in_range = value >= static_cast<double>(std::numeric_limits<T>::lowest()) &&
                          value <= static_cast<double>(std::numeric_limits<T>::max());
    if (in_range && static_cast<double>(static_cast<T>(value)) == value) kept.push_back(static_cast<T>(value));
  }
  return kept;
}

template <class T>
class RealLoader {
 public:
  explicit RealLoader(const std::vector<double>& nodata) : nodata_(representable<T>(nodata)) {}

  void operator()(const char* source, int64_t col_stride, const std::vector<Run>& runs, const Row& row) const {
    along<sizeof(T)>(runs, source, col_stride,
                     [&](int64_t i, const char* at) { row.value[i] = static_cast<float>(load<T>(at)); });
    if (std::is_floating_point<T>::value)
      for (int64_t i = 0; i < row.cols; ++i) row.status[i] |= is_finite(row.value[i]) ? kValid : kNodata;
    for (const T missing : nodata_)
      along<sizeof(T)>(runs, source, col_stride,
                       [&](int64_t i, const char* at) { row.status[i] |= load<T>(at) == missing ? kNodata : kValid; });
  }

 private:
  std::vector<T> nodata_;
};

// A complex pixel equals a nodata value if its real part does and its imaginary part is 0.
template <class T>
class ComplexLoader {
 public:
  explicit ComplexLoader(const std::vector<double>& nodata) : nodata_(representable<T>(nodata)) {}

  void operator()(const char* source, int64_t col_stride, const std::vector<Run>& runs, const Row& row) const {
    along<2 * sizeof(T)>(runs, source, col_stride, [&](int64_t i, const char* at) {
      row.value[i] = static_cast<float>(load<T>(at));
      row.imaginary[i] = static_cast<float>(load<T>(at + sizeof(T)));
      row.status[i] |= is_finite(row.value[i]) && is_finite(row.imaginary[i]) ? kValid : kNodata;
    });
    for (const T missing : nodata_)
      along<2 * sizeof(T)>(runs, source, col_stride, [&](int64_t i, const char* at) {
        row.status[i] |= load<T>(at) == missing && load<T>(at + sizeof(T)) == T(0) ? kNodata : kValid;
      });
  }

 private:
  std::vector<T> nodata_;
};

void calibrate(const Row& row, const GatherConfig& config) {
  const float scale = config.scale, offset = config.offset;
  if (scale == 1.0f && offset == 0.0f) return;
  for (int64_t i = 0; i < row.cols; ++i) row.value[i] = row.value[i] * scale + offset;
  if (config.unit == Unit::complex)
    for (int64_t i = 0; i < row.cols; ++i) row.imaginary[i] = row.imaginary[i] * scale;
}

using Convert = void (*)(const Row&, float);

template <Unit From, Unit To>
void convert_row(const Row& row, float floor) {
  float* value = row.value;
  const float* imaginary = From == Unit::complex ? row.imaginary : value;
  uint32_t* status = row.status;
  for (int64_t i = 0; i < row.cols; ++i) {
    const float power = power_of<From>(value[i], imaginary[i]);
    status[i] |= power <= 0.0f ? kNoSignal : kValid;
    if (From != To) value[i] = from_power<To>(power, floor);
  }
}

void keep_row(const Row&, float) {}

template <Unit From>
Convert converter_to(Unit to) {
  if (!knows_power(From, to)) return keep_row;
  if (to == Unit::amplitude) return convert_row<From, Unit::amplitude>;
  if (to == Unit::db) return convert_row<From, Unit::db>;
  return convert_row<From, Unit::intensity>;
}

Convert converter(Unit from, Unit to) {
  switch (from) {
    case Unit::intensity: return converter_to<Unit::intensity>(to);
    case Unit::amplitude: return converter_to<Unit::amplitude>(to);
    case Unit::db: return converter_to<Unit::db>(to);
    case Unit::complex: return converter_to<Unit::complex>(to);
    case Unit::dn: break;
  }
  return keep_row;
}

std::vector<Normal> normals(const GatherConfig& config) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Normal> all;
  for (size_t b = 0; b < config.mean.size(); ++b) {
    const bool clipped = !config.clip_low.empty();
    all.push_back({std::isnan(config.floor) ? -kInfinity : config.floor, clipped ? config.clip_low[b] : -kInfinity,
                   clipped ? config.clip_high[b] : kInfinity, config.mean[b], config.gain[b]});
  }
  return all;
}

// A value beyond float32 after all conversions is nodata as well: the network never sees a number that is not finite.
void normalise_row(const Row& row, const Normal& normal) {
  for (int64_t i = 0; i < row.cols; ++i) {
    row.value[i] = normalise(row.value[i], normal);
    row.status[i] |= is_finite(row.value[i]) ? kValid : kNodata;
  }
}

// Nodata in one band is nodata in all: these pixels enter the network as 0.
void finish_row(const GatherCall& call, int64_t tile_row, const uint32_t* status) {
  const int64_t cols = call.tile_size.cols, plane = call.tile_size.rows * cols;
  uint8_t* out = call.status + tile_row * cols;
  uint32_t seen = 0;
  for (int64_t i = 0; i < cols; ++i) {
    seen |= status[i];
    out[i] = static_cast<uint8_t>(status[i] & kNodata ? kNodata : status[i]);
  }
  if (!(seen & kNodata)) return;
  for (int64_t b = 0; b < call.values.bands; ++b) {
    float* value = call.tile + b * plane + tile_row * cols;
    for (int64_t i = 0; i < cols; ++i) value[i] = status[i] & kNodata ? 0.0f : value[i];
  }
}

// Everything about a call that is the same for all of its rows.
struct Plan {
  const GatherConfig& config;
  const GatherCall& call;
  std::vector<Run> columns;  // sources as columns of `values`
  Convert convert;
  std::vector<Normal> normal;
};

template <class Loader>
void gather_row(const Plan& plan, const Loader& load_row, int64_t tile_row, float* imaginary, uint32_t* status) {
  const GatherCall& call = plan.call;
  const int64_t cols = call.tile_size.cols, plane = call.tile_size.rows * cols;
  const int64_t source = reflect101(call.origin.row + tile_row, call.scene.rows) - call.window.row;
  std::fill(status, status + cols, uint32_t{kValid});
  if (call.valid)
    along<1>(plan.columns, call.valid.row(source), call.valid.col_stride,
             [&](int64_t i, const char* at) { status[i] |= *at == 0 ? kNodata : kValid; });
  for (int64_t b = 0; b < call.values.bands; ++b) {
    const Row row{call.tile + b * plane + tile_row * cols, imaginary, status, cols};
    const Plane band = call.values.band(b);
    load_row(band.row(source), band.col_stride, plan.columns, row);
    calibrate(row, plan.config);
    plan.convert(row, plan.config.floor);
    normalise_row(row, plan.normal[b]);
  }
  finish_row(call, tile_row, status);
}

template <class Loader>
void gather_rows(const Plan& plan) {
  const Loader load_row(plan.config.nodata);
  const int64_t cols = plan.call.tile_size.cols;
  const int threads = static_cast<int>(std::min<int64_t>(plan.call.threads, plan.call.tile_size.rows));
  std::vector<float> imaginary(plan.config.unit == Unit::complex ? threads * cols : 0);
  std::vector<uint32_t> status(threads * cols);
  parallel_for(plan.call.tile_size.rows, threads, [&](int worker, int64_t tile_row) {
    float* own = imaginary.empty() ? nullptr : imaginary.data() + worker * cols;
    gather_row(plan, load_row, tile_row, own, status.data() + worker * cols);
  });
}

}  // namespace

void gather_cpu(const GatherConfig& config, const GatherCall& call) {
  Plan plan{config, call, reflected_runs(call.origin.col, call.tile_size.cols, call.scene.cols),
            converter(config.unit, config.model_unit), normals(config)};
  for (Run& run : plan.columns) run.from -= call.window.col;
  switch (call.element) {
    case Element::u8: return gather_rows<RealLoader<uint8_t>>(plan);
    case Element::i8: return gather_rows<RealLoader<int8_t>>(plan);
    case Element::u16: return gather_rows<RealLoader<uint16_t>>(plan);
    case Element::i16: return gather_rows<RealLoader<int16_t>>(plan);
    case Element::u32: return gather_rows<RealLoader<uint32_t>>(plan);
    case Element::i32: return gather_rows<RealLoader<int32_t>>(plan);
    case Element::f32: return gather_rows<RealLoader<float>>(plan);
    case Element::f64: return gather_rows<RealLoader<double>>(plan);
    case Element::c64: return gather_rows<ComplexLoader<float>>(plan);
    case Element::c128: return gather_rows<ComplexLoader<double>>(plan);
  }
}

}  // namespace hfd
