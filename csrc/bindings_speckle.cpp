// Speckle filters and scene counts: convert, release the GIL, call. hfd_edge/speckle/__init__.py has checked the arrays.
#include "bindings_speckle.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "common/refuse.h"
#include "ops/enl_pairs.h"
#include "ops/scene_counts.h"
#include "ops/speckle.h"

namespace py = pybind11;

namespace {

using hfd::refuse;
using Floats32 = py::array_t<float, py::array::c_style>;
using Bytes8 = py::array_t<uint8_t, py::array::c_style>;
using Counts64 = py::array_t<int64_t, py::array::c_style>;

void check_bands(const Floats32& array, const char* name) {
  if (array.ndim() != 3) refuse(name, " has ", array.ndim(), " axes: it must be (bands, rows, cols)");
}

const uint8_t* mask_data(const std::optional<Bytes8>& mask, const Floats32& values) {
  if (!mask) return nullptr;
  if (mask->ndim() != 2 || mask->shape(0) != values.shape(1) || mask->shape(1) != values.shape(2))
    refuse("mask has not the shape of values: it must be (", values.shape(1), ", ", values.shape(2), ")");
  return mask->data();
}

void run_speckle(const hfd::SpeckleConfig& config, const Floats32& values, const std::optional<Bytes8>& mask,
                 std::vector<float> bright, int64_t first_row, Floats32 out, int threads) {
  check_bands(values, "values");
  check_bands(out, "out");
  if (out.shape(0) != values.shape(0) || out.shape(2) != values.shape(2))
    refuse("out has not the bands and columns of values: give (", values.shape(0), ", rows, ", values.shape(2), ")");
  const hfd::SpeckleCall call{values.data(), values.shape(0), {values.shape(1), values.shape(2)}, mask_data(mask, values),
                              std::move(bright), first_row, out.shape(1), out.mutable_data(), threads};
  const py::gil_scoped_release released;
  hfd::speckle(config, call);
}

hfd::SpeckleConfig make_config(const std::string& filter, const std::string& border, int radius, double looks, double damping,
                               double low, double high, double noise2) {
  return {hfd::speckle_filter_from_name(filter), hfd::speckle_border_from_name(border), radius, static_cast<float>(looks),
          static_cast<float>(damping), static_cast<float>(low), static_cast<float>(high), static_cast<float>(noise2)};
}

void run_count_power(const Floats32& values, const std::optional<Bytes8>& mask, Counts64 histogram, Counts64 totals,
                     uint8_t missing) {
  check_bands(values, "values");
  const int64_t bands = values.shape(0);
  if (histogram.size() != bands * hfd::kPowerBins || totals.size() != bands * 2)
    refuse("histogram and totals have ", histogram.size(), " and ", totals.size(), " counts: ", bands, " bands need ",
           hfd::kPowerBins, " and 2 each");
  const hfd::PixelMask valid{mask_data(mask, values), missing};
  int64_t *counts = histogram.mutable_data(), *sums = totals.mutable_data();
  const float* data = values.data();
  const int64_t pixels = values.shape(1) * values.shape(2);
  const py::gil_scoped_release released;
  for (int64_t b = 0; b < bands; ++b)
    hfd::count_power_cpu(data + b * pixels, valid, pixels, counts + b * hfd::kPowerBins, sums + 2 * b);
}

void run_count_between(const Floats32& values, float low, float high, Counts64 counts) {
  if (counts.size() < 1 || !(low < high))
    refuse(counts.size(), " bins from ", low, " to ", high, ": there must be at least one, and a range");
  int64_t* to = counts.mutable_data();
  const float* data = values.data();
  const int64_t size = values.size(), bins = counts.size();
  const py::gil_scoped_release released;
  hfd::count_between_cpu(data, size, low, high, to, bins);
}

void run_count_pairs(const Floats32& plane, std::pair<int64_t, int64_t> cols, int64_t rows, int64_t apart, float low, float high,
                     Counts64 table) {
  if (plane.ndim() != 2) refuse("plane has ", plane.ndim(), " axes: it must be (rows, cols)");
  if (table.ndim() != 2 || table.shape(0) != table.shape(1) || table.shape(0) < 1 || !(low < high) || apart < 1)
    refuse("a table of ", table.size(), " bins from ", low, " to ", high, ", pairs ", apart,
           " apart: it must be square, with a range, and pairs at least 1 apart");
  const hfd::PairCall call{plane.data(), {plane.shape(0), plane.shape(1)}, rows, cols.first, cols.second, apart, low, high};
  if (rows < 0 || rows > call.size.rows || call.first_col < 0 || call.cols < 0 || call.first_col + call.cols > call.size.cols)
    refuse(rows, " rows and columns from ", call.first_col, ", ", call.cols, " of them: they must lie inside the plane");
  int64_t* to = table.mutable_data();
  const int64_t bins = table.shape(0);
  const py::gil_scoped_release released;
  hfd::count_pairs_cpu(call, to, bins);
}

}  // namespace

void bind_speckle(py::module_& module) {
  using namespace py::literals;
  py::class_<hfd::SpeckleConfig>(module, "Speckle", "A speckle filter with its numbers; csrc/ops/speckle.h.")
      .def(py::init(&make_config), "filter"_a, "border"_a, "radius"_a, "looks"_a, "damping"_a, "low"_a, "high"_a, "noise2"_a)
      .def("run", &run_speckle, "values"_a.noconvert(), "mask"_a.noconvert(), "bright"_a, "first_row"_a, "out"_a.noconvert(),
           "threads"_a)
      .def_property_readonly("halo_px", [](const hfd::SpeckleConfig& c) { return hfd::speckle_halo(c.filter, c.radius); });
  module.def("count_power", &run_count_power, "values"_a.noconvert(), "mask"_a.noconvert(), "histogram"_a.noconvert(),
             "totals"_a.noconvert(), "missing"_a = 0,
             "Adds the pixels of (bands, rows, cols) to histograms of power; csrc/ops/scene_counts.h.");
  module.def("count_between", &run_count_between, "values"_a.noconvert(), "low"_a, "high"_a, "counts"_a.noconvert(),
             "Adds the numbers in [low, high) to equal bins.");
  module.def("count_pairs", &run_count_pairs, "plane"_a.noconvert(), "cols"_a, "rows"_a, "apart"_a, "low"_a, "high"_a,
             "table"_a.noconvert(), "Adds pairs of numbers of a plane to a table; csrc/ops/enl_pairs.h.");
  module.attr("POWER_BINS") = hfd::kPowerBins;
}
