// hfd_edge._native: convert, release the GIL, call. Nothing else happens here.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings_blend.h"
#include "bindings_speckle.h"
#include "common/refuse.h"
#include "ops/finish.h"
#include "ops/gather.h"
#include "ops/label_counts.h"
#include "ops/row_loops.h"
#include "ops/table_power.h"

namespace py = pybind11;

namespace {

using hfd::refuse;
using Pair = std::pair<int64_t, int64_t>;

std::string shape_of(const py::array& array) { return py::str(array.attr("shape")); }
std::string dtype_of(const py::array& array) { return py::str(array.dtype()); }

void check_dims(const py::array& array, const char* name, int dims, const char* axes) {
  if (array.ndim() != dims) refuse(name, " has shape ", shape_of(array), ": it must be ", axes, "; reshape it");
}

template <class T>
void check_dtype(const py::array& array, const char* name) {
  if (!array.dtype().equal(py::dtype::of<T>()))
    refuse(name, " is ", dtype_of(array), ": it must be ", std::string(py::str(py::dtype::of<T>())), "; convert it");
}

void check_c_order(const py::array& array, const char* name) {
  if (!(array.flags() & py::array::c_style))
    refuse(name, " is not in C order: give contiguous memory, e.g. np.ascontiguousarray");
}

template <class T>
void check_aligned(const py::array& array, const char* name) {
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(T) != 0)
    refuse(name, " begins at an address that is no multiple of ", alignof(T), ": make it with np.empty, or give a copy");
}

void check_writable(const py::array& array, const char* name) {
  if (!array.writeable()) refuse(name, " is read-only: it is written to; give memory of your own");
}

bool native_order(const py::dtype& type) { return std::string(py::str(type.attr("isnative"))) == "True"; }

hfd::Element element_of(const py::array& values) {
  using hfd::Element;
  const std::string name = std::string(1, values.dtype().kind()) + std::to_string(values.itemsize());
  const std::pair<const char*, Element> known[] = {
      {"u1", Element::u8},  {"i1", Element::i8},  {"u2", Element::u16}, {"i2", Element::i16}, {"u4", Element::u32},
      {"i4", Element::i32}, {"f4", Element::f32}, {"f8", Element::f64}, {"c8", Element::c64}, {"c16", Element::c128}};
  for (const auto& [key, element] : known)
    if (name == key && native_order(values.dtype())) return element;
  refuse("values is ", dtype_of(values), ": it must be 8, 16 or 32-bit integer, float32, float64, complex64 or complex128 in "
         "the machine's byte order; convert it");
}

hfd::Plane plane_of(const py::array& array) {
  return {static_cast<const char*>(array.data()), {array.shape(0), array.shape(1)}, array.strides(0), array.strides(1)};
}

hfd::Plane valid_plane(const py::object& valid) {
  if (valid.is_none()) return {};
  if (!py::isinstance<py::array>(valid))
    refuse("valid is a ", std::string(py::str(py::type::of(valid))), ": give a NumPy array or None");
  const auto array = py::reinterpret_borrow<py::array>(valid);
  check_dims(array, "valid", 2, "(rows, cols)");
  if (array.itemsize() != 1 || (array.dtype().kind() != 'b' && array.dtype().kind() != 'u'))
    refuse("valid is ", dtype_of(array), ": it must be bool or uint8, nonzero where the pixel is valid; convert it");
  return plane_of(array);
}

// A call of what is read; where it goes is still to be said.
hfd::GatherCall gather_call(const py::array& values, Pair window, Pair scene, Pair tile_origin, py::array& status,
                            const py::object& valid, int threads) {
  check_dims(values, "values", 3, "(bands, rows, cols)");
  check_dims(status, "status", 2, "(rows, cols)");
  check_dtype<uint8_t>(status, "status");
  check_c_order(status, "status");
  check_writable(status, "status");
  const hfd::Image image{static_cast<const char*>(values.data()), values.shape(0),   {values.shape(1), values.shape(2)},
                         values.strides(0),                       values.strides(1), values.strides(2)};
  return {image,
          element_of(values),
          valid_plane(valid),
          {window.first, window.second},
          {scene.first, scene.second},
          {tile_origin.first, tile_origin.second},
          {status.shape(0), status.shape(1)},
          nullptr,
          static_cast<uint8_t*>(status.mutable_data()),
          threads};
}

void run_gather(const hfd::Gather& gather, const py::array& values, Pair window, Pair scene, Pair tile_origin, py::array tile,
                py::array status, const py::object& valid, int threads) {
  hfd::GatherCall call = gather_call(values, window, scene, tile_origin, status, valid, threads);
  check_dims(tile, "tile", 3, "(bands, rows, cols)");
  check_dtype<float>(tile, "tile");
  check_c_order(tile, "tile");
  check_writable(tile, "tile");
  check_aligned<float>(tile, "tile");
  if (tile.shape(0) != values.shape(0) || tile.shape(1) != status.shape(0) || tile.shape(2) != status.shape(1))
    refuse("tile has shape ", shape_of(tile), ", values ", shape_of(values), " and status ", shape_of(status),
           ": bands of tile and values, rows and columns of tile and status must be equal");
  call.tile = static_cast<float*>(tile.mutable_data());
  const py::gil_scoped_release released;
  gather.run(call);
}

void run_gather_bytes(const hfd::Gather& gather, const py::array& values, Pair window, Pair scene, Pair tile_origin, py::array cells,
                      py::array status, const py::object& valid, double scale, int zero_point, int threads) {
  hfd::GatherCall call = gather_call(values, window, scene, tile_origin, status, valid, threads);
  check_dims(cells, "cells", 3, "(rows / 2, cols / 2, 4 * bands)");
  check_dtype<uint8_t>(cells, "cells");
  check_c_order(cells, "cells");
  check_writable(cells, "cells");
  if (2 * cells.shape(0) != status.shape(0) || 2 * cells.shape(1) != status.shape(1) || cells.shape(2) != 4 * values.shape(0))
    refuse("cells has shape ", shape_of(cells), ", values ", shape_of(values), " and status ", shape_of(status),
           ": cells of 2 x 2 pixels must be (rows / 2, cols / 2, 4 * bands), both sides of the tile even");
  call.cells = static_cast<uint8_t*>(cells.mutable_data());
  call.bytes = {static_cast<float>(scale), zero_point};
  const py::gil_scoped_release released;
  gather.run(call);
}

hfd::Gather make_gather(const std::string& unit, const std::string& model_unit, double scale, double offset,
                        std::vector<double> nodata, double floor, std::vector<float> clip_low, std::vector<float> clip_high,
                        std::vector<float> mean, std::vector<float> gain) {
  return hfd::Gather({hfd::unit_from_name(unit, "unit"), hfd::unit_from_name(model_unit, "model_unit"), static_cast<float>(scale),
                      static_cast<float>(offset), std::move(nodata), static_cast<float>(floor), std::move(clip_low),
                      std::move(clip_high), std::move(mean), std::move(gain)});
}

// A (rows, cols) uint8 plane; its columns are adjacent, its rows may lie anywhere.
void check_map(const py::array& array, const char* name) {
  check_dims(array, name, 2, "(rows, cols)");
  check_dtype<uint8_t>(array, name);
  if (array.size() > 0 && array.shape(1) > 1 && array.strides(1) != 1)
    refuse(name, " has columns ", array.strides(1), " bytes apart: they must be adjacent");
}

Pair run_finish(const py::array& logits, int64_t logit_stride, const py::array& status, Pair crop, py::array labels,
                const py::object& score, int threads, int64_t score_class) {
  check_dims(logits, "logits", 3, "(classes, rows, cols)");
  check_dtype<float>(logits, "logits");
  check_c_order(logits, "logits");
  check_dims(status, "status", 2, "(rows, cols)");
  check_dtype<uint8_t>(status, "status");
  check_c_order(status, "status");
  check_map(labels, "labels");
  check_writable(labels, "labels");
  hfd::FinishCall call{static_cast<const float*>(logits.data()),
                       logits.shape(0),
                       {logits.shape(1), logits.shape(2)},
                       logit_stride,
                       static_cast<const uint8_t*>(status.data()),
                       {status.shape(0), status.shape(1)},
                       {crop.first, crop.second},
                       {labels.shape(0), labels.shape(1)},
                       static_cast<uint8_t*>(labels.mutable_data()),
                       labels.strides(0),
                       nullptr,
                       0,
                       threads,
                       score_class};
  if (!score.is_none()) {
    if (!py::isinstance<py::array>(score)) refuse("score is not a NumPy array: give one like labels, or None");
    auto plane = py::reinterpret_borrow<py::array>(score);
    check_map(plane, "score");
    check_writable(plane, "score");
    if (plane.shape(0) != labels.shape(0) || plane.shape(1) != labels.shape(1))
      refuse("score has shape ", shape_of(plane), " and labels ", shape_of(labels), ": they must be equal");
    call.score = static_cast<uint8_t*>(plane.mutable_data());
    call.score_stride = plane.strides(0);
  }
  const py::gil_scoped_release released;
  const hfd::FinishCounts counts = hfd::finish(call);
  return {counts.nodata, counts.nan};
}

void run_count_labels(const py::array& labels, int classes, py::array counts) {
  check_map(labels, "labels");
  check_dims(counts, "counts", 1, "(classes + 1,)");
  check_dtype<int64_t>(counts, "counts");
  check_c_order(counts, "counts");
  check_writable(counts, "counts");
  if (classes < 1 || classes > 255 || counts.shape(0) != classes + 1)
    refuse("counts has shape ", shape_of(counts), " for ", classes, " classes: it must be one more, of 1 to 255 classes");
  const hfd::Plane plane{static_cast<const char*>(labels.data()), {labels.shape(0), labels.shape(1)}, labels.strides(0), 1};
  int64_t* to = static_cast<int64_t*>(counts.mutable_data());
  const py::gil_scoped_release released;
  hfd::count_labels_cpu(plane, classes, to);
}

using Table = std::tuple<py::array, py::array, py::array>;  // lines (n, cols) float64, first (rows) int64, weight (rows) float64

hfd::LineTable line_table(const Table& table, const char* name, int64_t rows, int64_t cols) {
  const auto& [lines, first, weight] = table;
  check_dtype<double>(lines, name), check_dtype<int64_t>(first, name), check_dtype<double>(weight, name);
  for (const auto* part : {&lines, &first, &weight}) check_c_order(*part, name), check_aligned<double>(*part, name);
  if (lines.ndim() != 2 || lines.shape(1) != cols || first.ndim() != 1 || first.shape(0) != rows || weight.ndim() != 1 || weight.shape(0) != rows)
    refuse(name, " has shapes ", shape_of(lines), ", ", shape_of(first), " and ", shape_of(weight), ": it must be lines (n, ", cols,
           "), first and weight (", rows, ",)");
  return {static_cast<const double*>(lines.data()), lines.shape(0), static_cast<const int64_t*>(first.data()),
          static_cast<const double*>(weight.data())};
}

void run_power_by_tables(const py::array& stored, const Table& gain, const Table& noise, const py::array& factors, const py::array& ends, py::array power) {
  check_dims(stored, "stored", 2, "(rows, cols)");
  check_dtype<uint16_t>(stored, "stored"), check_c_order(stored, "stored"), check_aligned<uint16_t>(stored, "stored");
  const int64_t rows = stored.shape(0), cols = stored.shape(1);
  check_dtype<double>(factors, "factors"), check_c_order(factors, "factors"), check_aligned<double>(factors, "factors");
  check_dtype<int64_t>(ends, "ends"), check_c_order(ends, "ends"), check_aligned<int64_t>(ends, "ends");
  if (ends.ndim() != 1 || factors.ndim() != 2 || factors.shape(0) != rows || factors.shape(1) != ends.shape(0))
    refuse("factors and ends have shapes ", shape_of(factors), " and ", shape_of(ends), ": they must be (", rows, ", pieces) and (pieces,)");
  check_dtype<float>(power, "power"), check_writable(power, "power"), check_aligned<float>(power, "power");
  if (power.ndim() != 2 || power.shape(0) != rows || power.shape(1) != cols || (power.size() > 0 && cols > 1 && power.strides(1) != sizeof(float)))
    refuse("power has shape ", shape_of(power), ": it must be as stored, ", shape_of(stored), ", its columns adjacent");
  const hfd::TablePowerCall call{static_cast<const uint16_t*>(stored.data()),
                                {rows, cols},
                                line_table(gain, "gain", rows, cols),
                                line_table(noise, "noise", rows, cols),
                                static_cast<const double*>(factors.data()),
                                static_cast<const int64_t*>(ends.data()),
                                ends.shape(0),
                                static_cast<float*>(power.mutable_data()),
                                power.strides(0)};
  const py::gil_scoped_release released;
  hfd::power_by_tables_cpu(call);
}

py::dict build_info() {
  py::dict info;
  info["version"] = HFD_VERSION;
  info["compiler"] = HFD_COMPILER;
  info["cxx_flags"] = HFD_CXX_FLAGS;
  info["sanitize"] = bool(HFD_SANITIZE);
  info["cuda"] = HFD_CUDA_STATE;
  info["max_threads"] = std::max(1u, std::thread::hardware_concurrency());
  info["simd"] = hfd::row_loops().name;
  info["simd_compiled"] = hfd::compiled_row_loops();
  info["simd_usable"] = hfd::usable_row_loops();
  return info;
}

void raise_array_error(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const std::invalid_argument& error) {
    py::set_error(py::module_::import("hfd_edge.errors").attr("ArrayError"), error.what());
  }
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  using namespace py::literals;
  module.doc() = "Native operations of hfd_edge. Shapes, dtypes and rules: csrc/ops/*.h; twins: tests/reference.py.";
  py::register_local_exception_translator(raise_array_error);
  py::class_<hfd::Gather>(module, "Gather", "Declared pixels to the network's input; one per run, for any number of threads.")
      .def(py::init(&make_gather), "unit"_a, "model_unit"_a, "scale"_a, "offset"_a, "nodata"_a, "floor"_a, "clip_low"_a,
           "clip_high"_a, "mean"_a, "gain"_a)
      .def("run", &run_gather, "values"_a, "window"_a, "scene"_a, "tile_origin"_a, "tile"_a, "status"_a, "valid"_a, "threads"_a)
      .def("run_bytes", &run_gather_bytes, "values"_a, "window"_a, "scene"_a, "tile_origin"_a, "cells"_a, "status"_a, "valid"_a, "scale"_a,
           "zero_point"_a, "threads"_a);
  module.def("finish", &run_finish, "logits"_a, "logit_stride"_a, "status"_a, "crop"_a, "labels"_a, "score"_a, "threads"_a,
             "score_class"_a = hfd::kOwnClass, "Logits at their own stride to labels and a score; gives (nodata_count, nan_count).");
  module.def("count_labels", &run_count_labels, "labels"_a, "classes"_a, "counts"_a,
             "Adds the labels of a map to counts[classes + 1], what is no class to the last; csrc/ops/label_counts.h.");
  module.def("power_by_tables", &run_power_by_tables, "stored"_a, "gain"_a, "noise"_a, "factors"_a, "ends"_a, "power"_a,
             "Amplitudes to linear power by tables of lines; csrc/ops/table_power.h.");
  bind_speckle(module);
  bind_blend(module);
  module.def("build_info", &build_info, "How this module was built.");
}
