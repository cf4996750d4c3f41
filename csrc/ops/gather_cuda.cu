// A thread makes four neighbouring pixels of all bands: one wide load a band where they lie side by side, one wide store.
#include "ops/gather_cuda.h"

#include <algorithm>
#include <cstdlib>

#include "common/refuse.h"
#include "ops/gather_cuda_load.h"

namespace hfd {
namespace {

template <Unit From, Unit To>
struct GatherBody {
  static constexpr int kThreads = 256, kPhases = 3, kBlocksPerProcessor = 4;
  struct Shared { uint32_t seen; };

  const char* values;
  const char* valid;
  float* tile;
  uint8_t* status;
  uint32_t* seen;
  int64_t band_stride, row_stride, valid_row_stride;
  int32_t col_stride, valid_col_stride;
  int64_t scene_rows, scene_cols, window_row, window_col;
  int64_t plane;
  int32_t rows, cols, groups, bands;
  Element element;
  int32_t element_bytes;
  float scale, offset, floor;
  bool calibrates, wide_tile, wide_status;
  Nodata nodata;
  Normal normal[kMostCudaBands];
  GatherTile tiles[kMostBatch];

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0) {
      if (at.thread == 0) shared.seen = 0;
    } else if (kPhase == 1) {
      make(at, shared);
    } else if (at.thread == 0 && shared.seen != 0 && seen != nullptr) {
      seen[at.block_y] = 1;  // from every block that saw one: the same value
    }
  }

  HFD_DEVICE void make(const ThreadPlace& at, Shared& shared) const {
    const int64_t index = static_cast<int64_t>(at.block_x) * kThreads + at.thread;
    if (index >= static_cast<int64_t>(rows) * groups) return;
    const int32_t row = static_cast<int32_t>(index) / groups, col = static_cast<int32_t>(index) % groups * kPixels;
    const int32_t count = cols - col < kPixels ? cols - col : kPixels;
    const GatherTile& place = tiles[at.block_y];
    const int64_t source_row = inside(place.row + static_cast<int64_t>(row), scene_rows) - window_row;
    int32_t columns[kPixels];
    const bool straight = source_columns(place.col + static_cast<int64_t>(col), count, columns);
    uint32_t marks[kPixels] = {};
    if (valid != nullptr) mark_invalid(valid + source_row * valid_row_stride, columns, straight, marks);
    float* const to = tile + at.block_y * bands * plane + static_cast<int64_t>(row) * cols + col;
    Sources from;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) from.at[i] = columns[i] * col_stride;
    from.adjacent = straight && col_stride == element_bytes;
    const char* const source = values + source_row * row_stride;
    for (int32_t b = 0; b < bands; ++b) make_band(b, source + b * band_stride, from, count, marks, to + b * plane);
    finish_pixels(at, {row, col, count}, place, marks, shared);
    hide_nodata(marks, count, to);
  }

  // Scene index for an index that may lie outside; the division only where it must be.
  static HFD_DEVICE int64_t inside(int64_t index, int64_t size) {
    return index >= 0 && index < size ? index : reflect101(index, size);
  }

  // Columns of what was read; whether they follow each other. Those behind the tile's end repeat its last one.
  HFD_DEVICE bool source_columns(int64_t first, int32_t count, int32_t* columns) const {
    const bool straight = first >= 0 && first + kPixels <= scene_cols && count == kPixels;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const int64_t wanted = first + (i < count ? i : count - 1);
      columns[i] = static_cast<int32_t>((straight ? wanted : inside(wanted, scene_cols)) - window_col);
    }
    return straight;
  }

  HFD_DEVICE void mark_invalid(const char* row, const int32_t* columns, bool straight, uint32_t* marks) const {
    Sources from;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) from.at[i] = columns[i] * valid_col_stride;
    from.adjacent = straight && valid_col_stride == 1;
    uint8_t allowed[kPixels];
    load_four<uint8_t, 1>(row, from, allowed);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) marks[i] |= allowed[i] == 0 ? kNodata : kValid;
  }

  HFD_DEVICE void load(const char* base, const Sources& from, Numbers& numbers) const {
    if (From == Unit::complex) {
      if (element == Element::c64) return load_complex<float>(base, from, nodata, numbers);
      return load_complex<double>(base, from, nodata, numbers);
    }
    switch (element) {
      case Element::u8: return load_real<uint8_t>(base, from, nodata, numbers);
      case Element::i8: return load_real<int8_t>(base, from, nodata, numbers);
      case Element::u16: return load_real<uint16_t>(base, from, nodata, numbers);
      case Element::i16: return load_real<int16_t>(base, from, nodata, numbers);
      case Element::u32: return load_real<uint32_t>(base, from, nodata, numbers);
      case Element::i32: return load_real<int32_t>(base, from, nodata, numbers);
      case Element::f64: return load_real<double>(base, from, nodata, numbers);
      default: return load_real<float>(base, from, nodata, numbers);
    }
  }

  HFD_DEVICE void make_band(int32_t band, const char* source, const Sources& from, int32_t count, uint32_t* marks,
                             float* to) const {
    Numbers numbers;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) numbers.marks[i] = marks[i];
    load(source, from, numbers);
    const ConversionOf<float> by{bits_as<float>(0x7fc00000u), scale, offset, floor, normal[band]};
    struct Four { float x[kPixels]; } four;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const float imaginary = From == Unit::complex ? numbers.imaginary[i] : 0.0f;
      four.x[i] = converted<From, To>(by, calibrates, numbers.value[i], imaginary, numbers.marks[i]);
      marks[i] = numbers.marks[i];
    }
    if (wide_tile) return store_wide(four, to);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i)
      if (i < count) to[i] = four.x[i];
  }

  struct Piece { int32_t row, col, count; };

  HFD_DEVICE void finish_pixels(const ThreadPlace& at, const Piece& piece, const GatherTile& place, const uint32_t* marks,
                                 Shared& shared) const {
    struct Four { uint8_t x[kPixels]; } four;
    const bool core_row = static_cast<uint32_t>(piece.row - place.core_row) < static_cast<uint32_t>(place.core_rows);
    bool any = false;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      four.x[i] = static_cast<uint8_t>(status_of(marks[i]));
      const bool core = core_row && static_cast<uint32_t>(piece.col + i - place.core_col) < static_cast<uint32_t>(place.core_cols);
      any = any || (core && i < piece.count && !(marks[i] & kNodata));
    }
    if (any) shared.seen = 1;
    uint8_t* const to = status + at.block_y * plane + static_cast<int64_t>(piece.row) * cols + piece.col;
    if (wide_status) return store_wide(four, to);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i)
      if (i < piece.count) to[i] = four.x[i];
  }

  // Nodata in one band is nodata in all: these pixels enter the network as 0.
  HFD_DEVICE void hide_nodata(const uint32_t* marks, int32_t count, float* to) const {
    if (!((marks[0] | marks[1] | marks[2] | marks[3]) & kNodata)) return;
    for (int32_t b = 0; b < bands; ++b)
      HFD_UNROLL
      for (int i = 0; i < kPixels; ++i)
        if (i < count && (marks[i] & kNodata)) to[b * plane + i] = 0.0f;
  }
};

int32_t bytes_of(Element element) {
  switch (element) {
    case Element::u8: case Element::i8: return 1;
    case Element::u16: case Element::i16: return 2;
    case Element::u32: case Element::i32: case Element::f32: return 4;
    case Element::f64: case Element::c64: return 8;
    case Element::c128: return 16;
  }
  return 0;
}

bool aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

template <Unit From, Unit To>
void gather_between(const GatherConfig& config, const GatherCall& call, const GatherBatch& batch, const CudaQueue& queue) {
  GatherBody<From, To> body{};
  body.values = call.values.data;
  body.valid = call.valid.data;
  body.seen = batch.seen;
  body.band_stride = call.values.band_stride;
  body.row_stride = call.values.row_stride;
  body.col_stride = static_cast<int32_t>(call.values.col_stride);
  body.valid_row_stride = call.valid.row_stride;
  body.valid_col_stride = static_cast<int32_t>(call.valid.col_stride);
  body.scene_rows = call.scene.rows;
  body.scene_cols = call.scene.cols;
  body.window_row = call.window.row;
  body.window_col = call.window.col;
  body.rows = static_cast<int32_t>(call.tile_size.rows);
  body.cols = static_cast<int32_t>(call.tile_size.cols);
  body.plane = call.tile_size.rows * call.tile_size.cols;
  body.groups = static_cast<int32_t>(pieces_of(body.cols, kPixels));
  body.bands = static_cast<int32_t>(call.values.bands);
  body.element = call.element;
  body.element_bytes = bytes_of(call.element);
  body.scale = config.scale;
  body.offset = config.offset;
  body.floor = config.floor;
  body.calibrates = config.scale != 1.0f || config.offset != 0.0f;
  body.wide_tile = body.cols % kPixels == 0 && aligned(call.tile, 16);
  body.wide_status = body.cols % kPixels == 0 && aligned(call.status, 4);
  const std::vector<double> nodata = possible_nodata(config.nodata, call.element);
  const std::vector<Normal> normal = normals(config);
  body.nodata.count = static_cast<int32_t>(nodata.size());
  for (size_t i = 0; i < nodata.size(); ++i) body.nodata.value[i] = nodata[i];
  for (size_t b = 0; b < normal.size(); ++b) body.normal[b] = normal[b];
  for (int64_t first = 0; first < batch.count; first += kMostBatch) {
    const int64_t count = batch.count - first < kMostBatch ? batch.count - first : kMostBatch;
    for (int64_t i = 0; i < count; ++i) body.tiles[i] = batch.tiles[first + i];
    body.tile = call.tile + first * body.bands * body.plane;
    body.status = call.status + first * body.plane;
    body.seen = batch.seen == nullptr ? nullptr : batch.seen + first;
    launch(body, {pieces_of(static_cast<int64_t>(body.rows) * body.groups, body.kThreads), count}, queue, "gather");
  }
}

template <Unit From>
void gather_from(const GatherConfig& config, const GatherCall& call, const GatherBatch& batch, const CudaQueue& queue) {
  if (config.model_unit == Unit::amplitude) return gather_between<From, Unit::amplitude>(config, call, batch, queue);
  if (config.model_unit == Unit::db) return gather_between<From, Unit::db>(config, call, batch, queue);
  gather_between<From, Unit::intensity>(config, call, batch, queue);
}

}  // namespace

void gather_cuda(const GatherConfig& config, const GatherCall& call, const GatherBatch& batch, const CudaQueue& queue) {
  if (call.values.bands > kMostCudaBands || config.nodata.size() > static_cast<size_t>(kMostCudaNodata))
    refuse(call.values.bands, " bands and ", config.nodata.size(), " nodata values: a GPU's gather takes at most ", kMostCudaBands,
           " and ", kMostCudaNodata, "; use device='cpu'");
  if (call.tile_size.rows * call.tile_size.cols > int64_t{1} << 30)
    refuse("tile of ", call.tile_size.rows, " x ", call.tile_size.cols, " pixels: a GPU's gather takes at most 2^30; use smaller tiles");
  const int64_t widest = std::max(std::abs(call.values.col_stride), std::abs(call.valid.col_stride));
  if (call.values.size.cols * widest > int64_t{0x7fffffff})
    refuse("rows of ", call.values.size.cols, " values, ", widest, " bytes apart: a GPU's gather takes rows of at most 2 GiB; cut the scene");
  switch (config.unit) {
    case Unit::intensity: return gather_from<Unit::intensity>(config, call, batch, queue);
    case Unit::amplitude: return gather_from<Unit::amplitude>(config, call, batch, queue);
    case Unit::db: return gather_from<Unit::db>(config, call, batch, queue);
    case Unit::complex: return gather_from<Unit::complex>(config, call, batch, queue);
    case Unit::dn: return gather_between<Unit::dn, Unit::dn>(config, call, batch, queue);
  }
}

}  // namespace hfd
