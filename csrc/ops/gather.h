// gather: declared pixels of a scene to the network's input, in one pass: reflection, nodata, calibration, unit, floor, clip,
// z-score.
#pragma once

#include <string>
#include <vector>

#include "common/views.h"
#include "ops/gather_bytes.h"
#include "ops/gather_row.h"

namespace hfd {

struct GatherConfig {
  Unit unit, model_unit;
  float scale, offset;
  std::vector<double> nodata;
  float floor;                         // in model_unit; NaN = none
  std::vector<float> clip_low, clip_high;  // per band, in model_unit; empty = none
  std::vector<float> mean, gain;       // per band: (x - mean) * gain
};

struct GatherCall {
  Image values;     // what was read of the scene
  Element element;
  Plane valid;      // uint8, nonzero = valid; without data = all valid
  Point window;     // scene coordinates of the first value
  Size scene;
  Point origin;     // scene coordinates of the first tile pixel; may lie outside
  Size tile_size;
  float* tile;      // (bands, rows, cols), C order; not used where there are cells
  uint8_t* status;  // (rows, cols), C order: Status
  int threads;
  uint8_t* cells = nullptr;  // (rows / 2, cols / 2, 4 * bands), C order: the tile as bytes instead, on a CPU alone
  ByteScale bytes = {};
};

// One per run: checked once, never changed, used by any number of threads.
class Gather {
 public:
  explicit Gather(GatherConfig config);  // throws std::invalid_argument
  void check(const GatherCall& call) const;  // throws std::invalid_argument
  void run(const GatherCall& call) const;    // check, and the loops of the CPU
  int64_t bands() const { return static_cast<int64_t>(config_.mean.size()); }
  const GatherConfig& config() const { return config_; }

 private:
  GatherConfig config_;
};

Unit unit_from_name(const std::string& name, const char* argument);
const char* unit_name(Unit unit);

// Whether a stored number can be this value at all.
bool can_be(Element element, double value);

// The declared nodata values that a stored pixel can be; the others equal none.
std::vector<double> possible_nodata(const std::vector<double>& nodata, Element element);

// Floor and clip, mean and gain of every band; none is -0.
std::vector<Normal> normals(const GatherConfig& config);

// Whether all decibels of normal power, which are between -380 and 386 before the clip, are finite when normalised.
bool decibels_stay_finite(const std::vector<Normal>& normal);

// The loops; `config` and `call` have been checked.
void gather_cpu(const GatherConfig& config, const GatherCall& call);

}  // namespace hfd
