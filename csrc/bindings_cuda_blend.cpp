// Blending of overlapping tiles on a GPU: convert, check, release the GIL, enqueue. Everything but sizes is device memory.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <utility>

#include "bindings_cuda_ops.h"
#include "ops/blend_cuda.h"

namespace py = pybind11;

namespace {

using hfd::Address, hfd::Memory, hfd::Queue, hfd::at, hfd::queue_of;
using Shape = std::array<int64_t, 3>;        // classes, rows, columns
using Pair = std::pair<int64_t, int64_t>;

int64_t size_of(const Shape& shape) { return shape[0] * shape[1] * shape[2]; }

void blend_tile(const std::pair<Memory, Shape>& tile, Pair first, const std::pair<Memory, Shape>& field, int64_t col,
                const Memory& share, const std::pair<Memory, int64_t>& state, const Queue& queue) {
  const py::gil_scoped_release released;
  const auto& [tile_memory, tile_shape] = tile;
  const auto& [field_memory, field_shape] = field;
  if (tile_shape[0] != field_shape[0]) hfd::refuse("tile has ", tile_shape[0], " classes and field ", field_shape[0], ": they must be equal");
  const hfd::BlendTileCall call{at<const float>(tile_memory, size_of(tile_shape), "tile"), tile_shape[0], {tile_shape[1], tile_shape[2]},
                                {first.first, first.second}, at<float>(field_memory, size_of(field_shape), "field"),
                                {field_shape[1], field_shape[2]}, col, at<const int32_t>(share, state.second, "share"),
                                at<const uint8_t>(state.first, state.second, "state"), state.second, 1};
  hfd::check_blend_place(call);
  hfd::blend_tile_cuda(call, queue_of(queue));
}

void blend_strips(const std::pair<Memory, Shape>& upper, const std::pair<Memory, Shape>& lower, const std::pair<Memory, int64_t>& share,
                  const Memory& upper_holds, const Memory& lower_holds, const Queue& queue) {
  const py::gil_scoped_release released;
  const auto& [upper_memory, upper_shape] = upper;
  const auto& [lower_memory, lower_shape] = lower;
  const int64_t cols = upper_shape[2];
  if (upper_shape[0] != lower_shape[0] || cols != lower_shape[2])
    hfd::refuse("upper and lower have not the same classes and columns: they must");
  const hfd::BlendStripsCall call{at<float>(upper_memory, size_of(upper_shape), "upper"), at<float>(lower_memory, size_of(lower_shape), "lower"),
                                  upper_shape[0], upper_shape[1], lower_shape[1], cols, at<const int32_t>(share.first, share.second, "share"),
                                  share.second, at<const uint8_t>(upper_holds, cols, "upper_holds"),
                                  at<const uint8_t>(lower_holds, cols, "lower_holds"), 1};
  hfd::check_blend_rows(call);
  hfd::blend_strips_cuda(call, queue_of(queue));
}

}  // namespace

void bind_cuda_blend(py::module_& module) {
  using namespace py::literals;
  module.def("blend_tile", &blend_tile, "tile"_a, "first"_a, "field"_a, "col"_a, "share"_a, "state"_a, "queue"_a,
             "As hfd_edge._native.blend_tile; tile and field are (memory, shape), state is (memory, used columns).");
  module.def("blend_strips", &blend_strips, "upper"_a, "lower"_a, "share"_a, "upper_holds"_a, "lower_holds"_a, "queue"_a,
             "As hfd_edge._native.blend_strips; upper and lower are (memory, shape), share is (memory, rows).");
}
