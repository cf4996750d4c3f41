// gather, finish and the count of saturated pixels on a GPU: convert, check, release the GIL, enqueue. What the device still works on
// must be kept by the caller.
#include "bindings_cuda_ops.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <cstdlib>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "ops/finish_cuda.h"
#include "ops/gather_cuda.h"
#include "ops/saturation_cuda.h"

namespace py = pybind11;

namespace {

using hfd::Address, hfd::Memory, hfd::Queue, hfd::at, hfd::queue_of;
using hfd::refuse;
using Pair = std::pair<int64_t, int64_t>;
using Rows = std::tuple<Address, int64_t, int64_t>;  // address, bytes, bytes from one row to the next

hfd::Element element_of(const std::string& name) {
  constexpr const char* kNames[] = {"u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "c8", "c16"};
  for (int i = 0; i < 10; ++i)
    if (name == kNames[i]) return static_cast<hfd::Element>(i);
  refuse("values are ", name, ": they must be 8, 16 or 32-bit integer, float32, float64, complex64 or complex128; convert them");
}

// What was read of a scene, in device memory; kept by the caller.
struct Scene {
  hfd::Image values;
  hfd::Element element;
  hfd::Plane valid;
  hfd::Point window;
  hfd::Size size;
};

Scene make_scene(Address values, const std::string& element, std::array<int64_t, 3> shape, std::array<int64_t, 3> strides,
                 const std::optional<std::tuple<Address, int64_t, int64_t>>& valid, Pair window, Pair scene) {
  const hfd::Size read{shape[1], shape[2]};
  hfd::Plane plane;
  if (valid) plane = {reinterpret_cast<const char*>(std::get<0>(*valid)), read, std::get<1>(*valid), std::get<2>(*valid)};
  return {{reinterpret_cast<const char*>(values), shape[0], read, strides[0], strides[1], strides[2]}, element_of(element), plane,
          {window.first, window.second}, {scene.first, scene.second}};
}

hfd::Gather make_gather(const std::string& unit, const std::string& model_unit, double scale, double offset,
                        std::vector<double> nodata, double floor, std::vector<float> clip_low, std::vector<float> clip_high,
                        std::vector<float> mean, std::vector<float> gain) {
  return hfd::Gather({hfd::unit_from_name(unit, "unit"), hfd::unit_from_name(model_unit, "model_unit"), static_cast<float>(scale),
                      static_cast<float>(offset), std::move(nodata), static_cast<float>(floor), std::move(clip_low),
                      std::move(clip_high), std::move(mean), std::move(gain)});
}

using Place = std::array<int64_t, 6>;  // row, column of the first pixel; row, column, rows, columns of the core

void run_gather(const hfd::Gather& gather, const Scene& scene, const std::vector<Place>& places, Pair size, const Memory& tile,
                const Memory& status, const std::optional<Memory>& seen, const Queue& queue) {
  const py::gil_scoped_release released;
  const int64_t count = static_cast<int64_t>(places.size()), pixels = size.first * size.second;
  hfd::GatherCall call{scene.values, scene.element, scene.valid, scene.window, scene.size, {}, {size.first, size.second},
                       nullptr, nullptr, 1};
  std::vector<hfd::GatherTile> tiles;
  for (const Place& place : places) {
    call.origin = {place[0], place[1]};
    gather.check(call);
    constexpr int64_t kFar = int64_t{1} << 30;
    if (std::max(std::abs(place[0]), std::abs(place[1])) > kFar || call.scene.rows > kFar || call.scene.cols > kFar)
      refuse("tile at (", place[0], ", ", place[1], ") of a scene of ", call.scene.rows, " x ", call.scene.cols,
             ": a GPU's gather counts to 2^30; cut the scene");
    const auto narrow = [&](int i) { return static_cast<int32_t>(place[i]); };
    tiles.push_back({narrow(0), narrow(1), narrow(2), narrow(3), narrow(4), narrow(5)});
  }
  call.tile = at<float>(tile, count * gather.bands() * pixels, "tile");
  call.status = at<uint8_t>(status, count * pixels, "status");
  uint32_t* flags = seen ? at<uint32_t>(*seen, count, "seen") : nullptr;
  hfd::gather_cuda(gather.config(), call, {tiles.data(), count, flags}, queue_of(queue));
}

void run_count_saturated(const Scene& scene, std::vector<double> nodata, double level, const Memory& total, const Queue& queue) {
  const py::gil_scoped_release released;
  const hfd::SaturationCall call{scene.values, scene.element, scene.valid, std::move(nodata), level};
  hfd::count_saturated_cuda(call, at<int64_t>(total, 1, "total"), queue_of(queue));
}

using Kept = std::array<int64_t, 5>;  // crop row and column, rows, columns, where it begins in the maps (row * pitch + column)

// Where a tile begins in a map whose rows are `pitch` apart, from where it begins in one of pitch `cols`.
void check_map(const Rows& map, const hfd::FinishCall& call, int64_t at, const char* name) {
  const auto& [address, bytes, pitch] = map;
  if (pitch < call.kept.cols) refuse(name, " has rows ", pitch, " bytes apart: a tile keeps ", call.kept.cols, " columns");
  if (at < 0 || at + (call.kept.rows - 1) * pitch + call.kept.cols > bytes)
    refuse(name, " has ", bytes, " bytes: a tile of ", call.kept.rows, " x ", call.kept.cols, " from byte ", at, " on leaves it");
}

void run_finish(const Memory& logits, std::array<int64_t, 3> shape, int64_t stride, const Memory& status,
                const std::vector<Kept>& kept, const Rows& labels, const std::optional<Rows>& score, const Memory& counts,
                const Queue& queue, int64_t score_class) {
  const py::gil_scoped_release released;
  const int64_t count = static_cast<int64_t>(kept.size()), pixels = shape[1] * shape[2] * stride * stride;
  hfd::FinishCall call{};
  call.classes = shape[0];
  call.logit_size = {shape[1], shape[2]};
  call.stride = stride;
  call.status_size = {shape[1] * stride, shape[2] * stride};
  call.threads = 1;
  call.score_class = score_class;
  std::vector<hfd::FinishTile> tiles;
  for (const Kept& tile : kept) {
    call.crop = {tile[0], tile[1]};
    call.kept = {tile[2], tile[3]};
    hfd::check_finish(call);
    check_map(labels, call, tile[4], "labels");
    if (score) check_map(*score, call, tile[4], "score");
    const auto narrow = [&](int i) { return static_cast<int32_t>(tile[i]); };
    tiles.push_back({narrow(0), narrow(1), narrow(2), narrow(3), tile[4], tile[4]});
  }
  if (pixels > int64_t{1} << 30) refuse("tiles of ", pixels, " pixels: a GPU's finish takes at most 2^30; use smaller tiles");
  call.logits = at<const float>(logits, count * shape[0] * shape[1] * shape[2], "logits");
  call.status = at<const uint8_t>(status, count * pixels, "status");
  call.labels = reinterpret_cast<uint8_t*>(std::get<0>(labels));
  call.label_stride = std::get<2>(labels);
  if (score) {
    call.score = reinterpret_cast<uint8_t*>(std::get<0>(*score));
    call.score_stride = std::get<2>(*score);
  }
  hfd::finish_cuda(call, {tiles.data(), count, at<unsigned long long>(counts, 2 * count, "counts")}, queue_of(queue));
}

}  // namespace

void bind_cuda_ops(py::module_& module) {
  using namespace py::literals;
  py::class_<Scene>(module, "Scene", "What was read of a scene, in device memory that the caller keeps.", py::module_local())
      .def(py::init(&make_scene), "values"_a, "element"_a, "shape"_a, "strides"_a, "valid"_a, "window"_a, "scene"_a);
  py::class_<hfd::Gather>(module, "Gather", "Declared pixels to the network's input, tiles at a time.", py::module_local())
      .def(py::init(&make_gather), "unit"_a, "model_unit"_a, "scale"_a, "offset"_a, "nodata"_a, "floor"_a, "clip_low"_a,
           "clip_high"_a, "mean"_a, "gain"_a)
      .def("run", &run_gather, "scene"_a, "places"_a, "size"_a, "tile"_a, "status"_a, "seen"_a, "queue"_a);
  module.def("count_saturated", &run_count_saturated, "scene"_a, "nodata"_a, "level"_a, "total"_a, "queue"_a,
             "Adds the pixels of what was read that have a value in every band and reach the level in one to an int64.");
  module.def("finish", &run_finish, "logits"_a, "shape"_a, "stride"_a, "status"_a, "kept"_a, "labels"_a, "score"_a, "counts"_a,
             "queue"_a, "score_class"_a = hfd::kOwnClass,
             "Logits at their own stride to labels and a score, tiles at a time; adds (nodata, NaN) to counts.");
}
