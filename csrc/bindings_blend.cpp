// Blending of overlapping tiles: convert, release the GIL, call. hfd_edge/stitch/blend.py makes the arrays.
#include "bindings_blend.h"

#include <pybind11/numpy.h>

#include <utility>

#include "common/refuse.h"
#include "ops/blend.h"
#include "ops/blend_pixel.h"

namespace py = pybind11;

namespace {

using hfd::refuse;
using Logits = py::array_t<float, py::array::c_style>;
using Shares = py::array_t<int32_t, py::array::c_style>;
using Flags = py::array_t<uint8_t, py::array::c_style>;

void check_field(const Logits& array, const char* name) {
  if (array.ndim() != 3) refuse(name, " has ", array.ndim(), " axes: it must be (classes, rows, cols)");
}

void check_one_class_count(const Logits& one, const Logits& other) {
  if (one.shape(0) != other.shape(0)) refuse("logits of ", one.shape(0), " and ", other.shape(0), " classes: they must be equal");
}

template <class Array>
void check_length(const Array& array, const char* name, int64_t length) {
  if (array.ndim() != 1 || array.shape(0) != length)
    refuse(name, " holds ", array.size(), " numbers in ", array.ndim(), " axes: it must hold ", length, " in one");
}

void run_blend_tile(const Logits& tile, std::pair<int64_t, int64_t> first, Logits field, int64_t col, const Shares& share,
                    const Flags& state, int threads) {
  check_field(tile, "tile");
  check_field(field, "field");
  check_one_class_count(tile, field);
  check_length(state, "state", share.size());
  check_length(share, "share", share.size());
  const hfd::BlendTileCall call{tile.data(), tile.shape(0), {tile.shape(1), tile.shape(2)}, {first.first, first.second},
                                field.mutable_data(), {field.shape(1), field.shape(2)}, col, share.data(), state.data(),
                                share.size(), threads};
  const py::gil_scoped_release released;
  hfd::blend_tile(call);
}

void run_blend_strips(Logits upper, Logits lower, const Shares& share, const Flags& upper_holds, const Flags& lower_holds,
                      int threads) {
  check_field(upper, "upper");
  check_field(lower, "lower");
  check_one_class_count(upper, lower);
  if (upper.shape(2) != lower.shape(2))
    refuse("strips of ", upper.shape(2), " and ", lower.shape(2), " columns: they must have the same");
  check_length(share, "share", share.size());
  check_length(upper_holds, "upper_holds", upper.shape(2));
  check_length(lower_holds, "lower_holds", upper.shape(2));
  const hfd::BlendStripsCall call{upper.mutable_data(), lower.mutable_data(), upper.shape(0), upper.shape(1), lower.shape(1),
                                  upper.shape(2), share.data(), share.size(), upper_holds.data(), lower_holds.data(), threads};
  const py::gil_scoped_release released;
  hfd::blend_strips(call);
}

}  // namespace

void bind_blend(py::module_& module) {
  using namespace py::literals;
  module.def("blend_tile", &run_blend_tile, "tile"_a.noconvert(), "first"_a, "field"_a.noconvert(), "col"_a,
             "share"_a.noconvert(), "state"_a.noconvert(), "threads"_a,
             "One tile's logits into the field of its strip, fused where a neighbour's are there; csrc/ops/blend.h.");
  module.def("blend_strips", &run_blend_strips, "upper"_a.noconvert(), "lower"_a.noconvert(), "share"_a.noconvert(),
             "upper_holds"_a.noconvert(), "lower_holds"_a.noconvert(), "threads"_a,
             "Fuses the last rows of one strip with the first rows of the next; both get them.");
  module.attr("SHARE_ONE") = hfd::kShareOne;
}
