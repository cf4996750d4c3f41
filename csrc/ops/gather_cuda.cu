// A thread makes four neighbouring pixels of all bands in a few rows: one wide load a band and row where they lie side by side, one
// wide store.
#include "ops/gather_cuda.h"

#include <algorithm>
#include <cstdlib>

#include "common/refuse.h"
#include "ops/gather_cuda_load.h"
#include "ops/gather_cuda_usual.h"

namespace hfd {
namespace {

template <Unit From, Unit To>
struct GatherBody {
  static constexpr int kThreads = 256, kPhases = 3, kBlocksPerProcessor = From == Unit::complex ? 3 : 4;
  static constexpr int32_t kRows = 4;  // one below the other, of a thread: they share what its columns cost
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
  int32_t rows, cols, bands;
  uint32_t groups, pieces;  // of four pixels in a row; of kRows of them in a tile
  Element element;
  uint32_t beside_wide;  // bits of an address that four numbers cannot be loaded from at once
  bool adjacent, wide_tile, wide_status;
  Calibration by;
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

  // Four pixels of a tile side by side.
  struct Piece {
    int32_t row, col, count;
    int32_t first;            // column of the first one in what was read
    int32_t behind[kPixels];  // columns from there to the others
    bool beside;              // their numbers lie side by side
    uint32_t core;            // bit i: pixel i lies in a column of the tile's core
  };

  HFD_DEVICE void make(const ThreadPlace& at, Shared& shared) const {
    const uint32_t index = at.block_x * kThreads + at.thread;
    if (index >= pieces) return;
    const GatherTile& place = tiles[at.block_y];
    Piece piece;
    piece.row = static_cast<int32_t>(index / groups) * kRows;
    piece.col = static_cast<int32_t>(index % groups) * kPixels;
    piece.count = cols - piece.col < kPixels ? cols - piece.col : kPixels;
    piece.core = core_columns(piece, place);
    source_columns(place.col + static_cast<int64_t>(piece.col), piece);
    const int64_t scene_row = place.row + static_cast<int64_t>(piece.row);
    const int32_t count = rows - piece.row < kRows ? rows - piece.row : kRows, from = piece.row * cols + piece.col;
    float* to = tile + at.block_y * bands * plane + from;
    uint8_t* said = status + at.block_y * plane + from;
    bool any = false;
    for (int32_t i = 0; i < count; ++i, to += cols, said += cols) {
      const int64_t source = inside(scene_row + i, scene_rows) - window_row;
      const bool core_row = static_cast<uint32_t>(piece.row + i - place.core_row) < static_cast<uint32_t>(place.core_rows);
      const uint32_t gone = make_row(piece, static_cast<uint32_t>(source), to, said);
      any = any || (core_row && (piece.core & ~gone) != 0);
    }
    if (any) add_atomically(&shared.seen, 1u);  // as a plain store of the same 1 it would be a race
  }

  // Scene index for an index that may lie outside; the division only where it must be.
  static HFD_DEVICE int64_t inside(int64_t index, int64_t size) {
    return static_cast<uint64_t>(index) < static_cast<uint64_t>(size) ? index : reflect101(index, size);
  }

  static HFD_DEVICE uint32_t core_columns(const Piece& piece, const GatherTile& place) {
    uint32_t core = 0;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const bool in = static_cast<uint32_t>(piece.col + i - place.core_col) < static_cast<uint32_t>(place.core_cols);
      core |= in && i < piece.count ? 1u << i : 0u;
    }
    return core;
  }

  // Those behind the tile's end repeat its last one.
  HFD_DEVICE void source_columns(int64_t first, Piece& piece) const {
    const bool straight = first >= 0 && first + kPixels <= scene_cols && piece.count == kPixels;
    piece.beside = straight && adjacent;
    piece.first = static_cast<int32_t>((straight ? first : inside(first, scene_cols)) - window_col);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) piece.behind[i] = i;
    if (straight) return;
    HFD_UNROLL
    for (int i = 1; i < kPixels; ++i) {
      const int64_t wanted = first + (i < piece.count ? i : piece.count - 1);
      piece.behind[i] = static_cast<int32_t>(inside(wanted, scene_cols) - window_col) - piece.first;
    }
  }

  // Bit i: pixel i is nodata.
  HFD_DEVICE uint32_t make_row(const Piece& piece, uint32_t source_row, float* to, uint8_t* said) const {
    uint32_t marks[kPixels] = {};
    if (valid != nullptr) mark_invalid(valid + source_row * valid_row_stride + piece.first * valid_col_stride, piece, marks);
    const char* source = values + source_row * row_stride + piece.first * col_stride;
    float* band_to = to;
    for (int32_t b = 0; b < bands; ++b, source += band_stride, band_to += plane) make_band(b, source, piece, marks, band_to);
    if ((marks[0] | marks[1] | marks[2] | marks[3]) == 0 && wide_status) {
      store_wide(uint32_t{0}, said);
      return 0;
    }
    return finish_marked(piece.count, marks, to, said);
  }

  HFD_DEVICE void mark_invalid(const char* first, const Piece& piece, uint32_t* marks) const {
    uint8_t allowed[kPixels];
    const Sources from{first, piece.behind, valid_col_stride};
    const bool straight = piece.behind[1] == 1 && piece.behind[2] == 2 && piece.behind[3] == 3;
    if (straight && valid_col_stride == 1 && reinterpret_cast<uintptr_t>(first) % kPixels == 0)
      load_four<uint8_t, 1, true>(from, allowed);
    else
      load_four<uint8_t, 1, false>(from, allowed);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) marks[i] |= allowed[i] == 0 ? kNodata : kValid;
  }

  template <bool kWide>
  HFD_DEVICE void load(const Sources& from, Numbers& numbers, uint32_t* marks) const {
    if (From == Unit::complex) {
      if (element == Element::c64) return load_complex<float, kWide>(from, nodata, numbers, marks);
      return load_complex<double, kWide>(from, nodata, numbers, marks);
    }
    if (element == Element::f32) return load_real<float, kWide>(from, nodata, numbers, marks);  // before the rest: the usual ones
    if (element == Element::u16) return load_real<uint16_t, kWide>(from, nodata, numbers, marks);
    switch (element) {
      case Element::u8: return load_real<uint8_t, kWide>(from, nodata, numbers, marks);
      case Element::i8: return load_real<int8_t, kWide>(from, nodata, numbers, marks);
      case Element::i16: return load_real<int16_t, kWide>(from, nodata, numbers, marks);
      case Element::u32: return load_real<uint32_t, kWide>(from, nodata, numbers, marks);
      case Element::i32: return load_real<int32_t, kWide>(from, nodata, numbers, marks);
      default: return load_real<double, kWide>(from, nodata, numbers, marks);
    }
  }

  HFD_DEVICE void make_band(int32_t band, const char* source, const Piece& piece, uint32_t* marks, float* to) const {
    Numbers numbers;
    const Sources from{source, piece.behind, col_stride};
    if (piece.beside && (static_cast<uint32_t>(reinterpret_cast<uintptr_t>(source)) & beside_wide) == 0)
      load<true>(from, numbers, marks);
    else
      load<false>(from, numbers, marks);
    const Normal by_band = normal[band];
    Four four;
    if (!usual_decibels<From, To>(by, by_band, numbers, four)) convert_any(by_band, numbers, marks, four);
    if (wide_tile) return store_wide(four, to);
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i)
      if (i < piece.count) to[i] = four.x[i];
  }

  HFD_DEVICE void convert_any(const Normal& by_band, const Numbers& numbers, uint32_t* marks, Four& four) const {
    const ConversionOf<float> all{by.missing, by.scale, by.offset, by.floor, by_band};
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const float imaginary = From == Unit::complex ? numbers.imaginary[i] : 0.0f;
      four.x[i] = converted<From, To>(all, true, numbers.value[i], imaginary, marks[i]);
    }
  }

  // Nodata in one band is nodata in all: these pixels enter the network as 0. Bit i: pixel i is.
  HFD_DEVICE uint32_t finish_marked(int32_t count, const uint32_t* marks, float* to, uint8_t* said) const {
    uint32_t gone = 0;
    HFD_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      if (i < count) said[i] = static_cast<uint8_t>(status_of(marks[i]));
      gone |= i < count && (marks[i] & kNodata) ? 1u << i : 0u;
    }
    if (gone == 0) return 0;
    for (int32_t b = 0; b < bands; ++b)
      HFD_UNROLL
      for (int i = 0; i < kPixels; ++i)
        if (gone >> i & 1u) to[b * plane + i] = 0.0f;
    return gone;
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
  body.groups = static_cast<uint32_t>(pieces_of(body.cols, kPixels));
  body.pieces = static_cast<uint32_t>(pieces_of(body.rows, body.kRows)) * body.groups;
  body.bands = static_cast<int32_t>(call.values.bands);
  body.element = call.element;
  body.adjacent = call.values.col_stride == bytes_of(call.element);
  body.beside_wide = static_cast<uint32_t>(std::min(16, kPixels * bytes_of(call.element)) - 1);
  body.wide_tile = body.cols % kPixels == 0 && aligned(call.tile, 16);
  body.wide_status = body.cols % kPixels == 0 && aligned(call.status, 4);
  const std::vector<double> nodata = possible_nodata(config.nodata, call.element);
  const std::vector<Normal> normal = normals(config);
  body.by = calibration(config, call.element, nodata, normal);
  body.nodata.count = static_cast<int32_t>(nodata.size());
  for (size_t i = 0; i < nodata.size(); ++i) body.nodata.value[i] = nodata[i];
  for (size_t b = 0; b < normal.size(); ++b) body.normal[b] = normal[b];
  for (int64_t first = 0; first < batch.count; first += kMostBatch) {
    const int64_t count = batch.count - first < kMostBatch ? batch.count - first : kMostBatch;
    for (int64_t i = 0; i < count; ++i) body.tiles[i] = batch.tiles[first + i];
    body.tile = call.tile + first * body.bands * body.plane;
    body.status = call.status + first * body.plane;
    body.seen = batch.seen == nullptr ? nullptr : batch.seen + first;
    launch(body, {pieces_of(body.pieces, body.kThreads), count}, queue, "gather");
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
