// Speckle filters, their masks and scene counts on a GPU: convert, check, release the GIL, enqueue.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings_cuda_ops.h"
#include "ops/scene_counts_cuda.h"
#include "ops/speckle_cuda.h"
#include "ops/validity_cuda.h"

namespace py = pybind11;

namespace {

using hfd::Address, hfd::Memory, hfd::Queue, hfd::at, hfd::queue_of;
using hfd::refuse;

const uint8_t* mask_of(const std::optional<Memory>& mask, int64_t pixels) {
  return mask ? at<const uint8_t>(*mask, pixels, "mask") : nullptr;
}

hfd::SpeckleConfig make_config(const std::string& filter, const std::string& border, int radius, double looks, double damping,
                               double low, double high, double noise2) {
  return {hfd::speckle_filter_from_name(filter), hfd::speckle_border_from_name(border), radius, static_cast<float>(looks),
          static_cast<float>(damping), static_cast<float>(low), static_cast<float>(high), static_cast<float>(noise2)};
}

void run_speckle(const hfd::SpeckleConfig& config, const Memory& values, std::array<int64_t, 3> shape,
                 const std::optional<Memory>& mask, std::vector<float> bright, std::pair<int64_t, int64_t> rows, const Memory& out,
                 const Queue& queue) {
  const py::gil_scoped_release released;
  const int64_t pixels = shape[1] * shape[2];
  hfd::SpeckleCall call{nullptr, shape[0], {shape[1], shape[2]}, mask_of(mask, pixels), std::move(bright), rows.first, rows.second,
                        nullptr, 1};
  hfd::check_speckle(config, call);
  call.values = at<const float>(values, shape[0] * pixels, "values");
  call.out = at<float>(out, shape[0] * rows.second * shape[2], "out");
  hfd::speckle_cuda(config, call, queue_of(queue));
}

void run_valid_of_status(const Memory& status, int64_t pixels, const Queue& queue) {
  const py::gil_scoped_release released;
  hfd::valid_of_status_cuda(at<uint8_t>(status, pixels, "status"), pixels, queue_of(queue));
}

void run_count_power(const Memory& values, const std::optional<Memory>& mask, int64_t bands, int64_t pixels,
                     const Memory& histogram, const Memory& totals, const Queue& queue, uint8_t missing) {
  const py::gil_scoped_release released;
  const float* data = at<const float>(values, bands * pixels, "values");
  int64_t* counts = at<int64_t>(histogram, bands * hfd::kPowerBins, "histogram");
  int64_t* sums = at<int64_t>(totals, bands * 2, "totals");
  const hfd::PixelMask allowed{mask_of(mask, pixels), missing};
  for (int64_t b = 0; b < bands; ++b)
    hfd::count_power_cuda(data + b * pixels, allowed, pixels, counts + b * hfd::kPowerBins, sums + 2 * b, queue_of(queue));
}

void run_count_between(const Memory& values, int64_t count, float low, float high, const Memory& counts, int64_t bins,
                       const Queue& queue) {
  if (bins < 1 || !(low < high)) refuse(bins, " bins from ", low, " to ", high, ": there must be at least one, and a range");
  const py::gil_scoped_release released;
  hfd::count_between_cuda(at<const float>(values, count, "values"), count, low, high, at<int64_t>(counts, bins, "counts"), bins,
                          queue_of(queue));
}

}  // namespace

void bind_cuda_speckle(py::module_& module) {
  using namespace py::literals;
  py::class_<hfd::SpeckleConfig>(module, "Speckle", "A speckle filter with its numbers; csrc/ops/speckle.h.", py::module_local())
      .def(py::init(&make_config), "filter"_a, "border"_a, "radius"_a, "looks"_a, "damping"_a, "low"_a, "high"_a, "noise2"_a)
      .def("run", &run_speckle, "values"_a, "shape"_a, "mask"_a, "bright"_a, "rows"_a, "out"_a, "queue"_a,
           "(bands, rows, cols) float32 in device memory, C order, to (bands, rows made, cols).");
  module.def("valid_of_status", &run_valid_of_status, "status"_a, "pixels"_a, "queue"_a,
             "What gather says of pixels to a mask for filters, nonzero = valid, in the same memory.");
  module.def("count_power", &run_count_power, "values"_a, "mask"_a, "bands"_a, "pixels"_a, "histogram"_a, "totals"_a, "queue"_a,
             "missing"_a = 0);
  module.def("count_between", &run_count_between, "values"_a, "count"_a, "low"_a, "high"_a, "counts"_a, "bins"_a, "queue"_a);
}
