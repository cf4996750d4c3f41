// What gather accepts; the loops are in gather_cpu.cpp and gather_cuda.cu.
#include "ops/gather.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/reflect.h"
#include "common/refuse.h"

namespace hfd {
namespace {

constexpr const char* kUnitNames[] = {"intensity", "amplitude", "db", "complex", "dn"};

void check_bytes(const GatherCall& call) {
  if (call.values.bands > kMostByteBands)
    refuse("values has ", call.values.bands, " bands: bytes are made of 1 to ", kMostByteBands, "; give the network float32");
  if (call.tile_size.rows % 2 != 0 || call.tile_size.cols % 2 != 0)
    refuse("tile of ", call.tile_size.rows, " x ", call.tile_size.cols, " pixels as bytes: its cells are 2 x 2 pixels; both sides must be even");
  if (!std::isnormal(call.bytes.scale) || call.bytes.scale < 0.0f || call.bytes.zero < 0 || call.bytes.zero > 255)
    refuse("scale=", call.bytes.scale, ", zero_point=", call.bytes.zero,
           ": the scale of bytes must be above 0 and neither infinite nor denormal, their zero point 0 to 255");
}

bool is_complex(Element element) { return element == Element::c64 || element == Element::c128; }

void check_units(const GatherConfig& config) {
  if (config.model_unit == Unit::complex)
    refuse("model_unit=complex: a network takes real numbers; use intensity, amplitude or db");
  const bool one_is_dn = config.unit == Unit::dn || config.model_unit == Unit::dn;
  if (one_is_dn && config.unit != config.model_unit)
    refuse("unit=", unit_name(config.unit), " to model_unit=", unit_name(config.model_unit),
           ": digital numbers have no physical meaning to convert; declare the unit they become with scale and offset");
  const bool needs_floor = config.model_unit == Unit::db && config.unit != Unit::db;
  if (needs_floor && std::isnan(config.floor))
    refuse("floor=nan with model_unit=db: zero power has no logarithm; give the dB value it lands on, e.g. -35");
}

void check_calibration(const GatherConfig& config) {
  if (!std::isfinite(config.scale) || config.scale == 0.0f)
    refuse("scale=", config.scale, ": it must be finite and not 0 as float32; use 1 for values that need none");
  if (!std::isfinite(config.offset)) refuse("offset=", config.offset, ": it must be finite; use 0 for values that need none");
  if (config.unit == Unit::complex && config.offset != 0.0f)
    refuse("offset=", config.offset, " with unit=complex: a constant has no meaning on I and Q; use 0");
  if (std::isinf(config.floor)) refuse("floor=", config.floor, ": it must be finite, or nan for none");
}

void check_bands(const GatherConfig& config) {
  const size_t bands = config.mean.size();
  if (bands == 0) refuse("mean=[]: there must be one value per band, at least one");
  if (config.gain.size() != bands)
    refuse("gain has ", config.gain.size(), " values and mean ", bands, ": give one of each per band");
  if (config.clip_low.size() != config.clip_high.size() || (!config.clip_low.empty() && config.clip_low.size() != bands))
    refuse("clip_low and clip_high have ", config.clip_low.size(), " and ", config.clip_high.size(), " values for ", bands,
           " bands: give one of each per band, or none");
  for (size_t b = 0; b < bands; ++b)
    if (!std::isfinite(config.mean[b]) || !std::isfinite(config.gain[b]))
      refuse("mean=", config.mean[b], ", gain=", config.gain[b], " of band ", b, ": both must be finite as float32");
  for (size_t b = 0; b < config.clip_low.size(); ++b)
    if (!(config.clip_low[b] < config.clip_high[b]))
      refuse("clip=(", config.clip_low[b], ", ", config.clip_high[b], ") of band ", b,
             ": the low end must be below the high end");
}

void check_range(const char* axis, int64_t origin, int64_t count, int64_t window, int64_t read, int64_t scene) {
  int64_t first = origin, last = origin + count - 1;
  if (first < 0 || last >= scene) {  // else nothing is reflected, and looking at each pixel would take a GPU's thread as long as the kernel
    first = scene, last = -1;
    for (const Run& run : reflected_runs(origin, count, scene)) {
      const int64_t end = run.from + (run.count - 1) * run.step;
      first = std::min({first, run.from, end});
      last = std::max({last, run.from, end});
    }
  }
  if (first < window || last >= window + read)
    refuse("values hold scene ", axis, " ", window, " to ", window + read - 1, " but the tile at ", origin, " needs ", first,
           " to ", last, ": every pixel of the tile, reflections included, must have been read; "
           "read them, see tiles.reflected_range");
}

template <class T>
bool holds(double value) {
  const bool in_range = value >= static_cast<double>(std::numeric_limits<T>::lowest()) &&
                        value <= static_cast<double>(std::numeric_limits<T>::max());
  return in_range && static_cast<double>(static_cast<T>(value)) == value;
}

}  // namespace

bool can_be(Element element, double value) {
  switch (element) {
    case Element::u8: return holds<uint8_t>(value);
    case Element::i8: return holds<int8_t>(value);
    case Element::u16: return holds<uint16_t>(value);
    case Element::i16: return holds<int16_t>(value);
    case Element::u32: return holds<uint32_t>(value);
    case Element::i32: return holds<int32_t>(value);
    case Element::f32: case Element::c64: return holds<float>(value);
    case Element::f64: case Element::c128: return holds<double>(value);
  }
  return false;
}

std::vector<double> possible_nodata(const std::vector<double>& nodata, Element element) {
  std::vector<double> kept;
  for (const double value : nodata)
    if (can_be(element, value)) kept.push_back(value);
  return kept;
}

std::vector<Normal> normals(const GatherConfig& config) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<Normal> all;
  for (size_t b = 0; b < config.mean.size(); ++b) {
    const bool clipped = !config.clip_low.empty();
    const float low = clipped ? config.clip_low[b] : -kInfinity, high = clipped ? config.clip_high[b] : kInfinity;
    const float least = low > config.floor || std::isnan(config.floor) ? low : config.floor;
    all.push_back({least + 0.0f, high + 0.0f, config.mean[b] + 0.0f, config.gain[b] + 0.0f});  // -0 becomes 0, as in every()
  }
  return all;
}

bool decibels_stay_finite(const std::vector<Normal>& normal) {
  for (const Normal& by : normal) {
    double most = 386.0;
    for (const float end : {by.low, by.high})
      if (std::isfinite(end)) most = std::max(most, std::fabs(static_cast<double>(end)));
    most += std::fabs(static_cast<double>(by.mean));
    if (!(most < 3e38 && most * std::fabs(static_cast<double>(by.gain)) < 3e38)) return false;
  }
  return true;
}

Unit unit_from_name(const std::string& name, const char* argument) {
  for (int i = 0; i < 5; ++i)
    if (name == kUnitNames[i]) return static_cast<Unit>(i);
  refuse(argument, "='", name, "': use one of intensity, amplitude, db, complex, dn");
}

const char* unit_name(Unit unit) { return kUnitNames[static_cast<int>(unit)]; }

Gather::Gather(GatherConfig config) : config_(std::move(config)) {
  check_units(config_);
  check_calibration(config_);
  check_bands(config_);
}

void Gather::check(const GatherCall& call) const {
  const Size read = call.values.size;
  if (call.values.bands != bands())
    refuse("values has ", call.values.bands, " bands: this gather was made for ", bands(), "; choose the bands when reading");
  if (is_complex(call.element) != (config_.unit == Unit::complex))
    refuse("values of ", is_complex(call.element) ? "complex" : "real", " dtype with unit=", unit_name(config_.unit),
           ": complex numbers go with unit=complex and nothing else; declare what the pixels are");
  if (call.scene.rows < 1 || call.scene.cols < 1)
    refuse("scene=(", call.scene.rows, ", ", call.scene.cols, "): it must have at least one row and column");
  if (call.tile_size.rows < 1 || call.tile_size.cols < 1)
    refuse("tile of ", call.tile_size.rows, " x ", call.tile_size.cols, " pixels: it must have at least one row and column");
  if (call.valid && (call.valid.size.rows != read.rows || call.valid.size.cols != read.cols))
    refuse("valid has shape (", call.valid.size.rows, ", ", call.valid.size.cols, ") and values (", bands(), ", ", read.rows,
           ", ", read.cols, "): rows and columns must be equal");
  if (call.cells != nullptr) check_bytes(call);
  check_threads(call.threads);
  check_range("rows", call.origin.row, call.tile_size.rows, call.window.row, read.rows, call.scene.rows);
  check_range("columns", call.origin.col, call.tile_size.cols, call.window.col, read.cols, call.scene.cols);
}

}  // namespace hfd
