// A thread makes 4 columns of a few rows, beginning at a multiple of 4 of the tile, so that for the strides that networks have the
// compiler knows between which logits the pixels lie. Of every class it reads those few logits, stretches them along the columns
// once, and then down the rows. First as if all were well inside and tame (finish_pixel.h); where that turns out wrong, again with care.
#include "ops/finish_cuda.h"

#include "ops/finish_cuda_axis.h"

namespace hfd {
namespace {

struct FinishShared {
  uint32_t nodata, nan;
};

template <int kStride, int kRows>
struct FinishBody {
  static constexpr int kThreads = 128, kPhases = 3, kBlocksPerProcessor = kRows > 2 ? 4 : kStride == 2 ? 5 : 6;
  static constexpr int kAcross = logits_of<kCols, kStride>(), kDown = logits_of<kRows, kStride>();
  using Shared = FinishShared;

  const float* logits;
  const uint8_t* status;
  uint8_t *labels, *score;
  unsigned long long* counts;
  int64_t label_stride, score_stride, cells;  // cells: logits of a class
  int32_t classes, score_class, logit_rows, logit_cols, stride, groups;  // groups of 4 columns in a row of threads
  bool wide_status;
  FinishTile tiles[kMostFinishBatch];

  // A thread's pixels: tile coordinates of the first, and bit 4 row + column for each that is kept.
  struct Piece {
    int32_t row, col;
    uint32_t kept;
    const float* logits;  // of the tile
    Axis<kCols> cols;
    Axis<kRows> rows;
  };

  struct Leaders {
    float best[kRows * kCols];
    int32_t number[kRows * kCols];
    uint32_t broken, wild;
  };

  template <int kPhase>
  HFD_DEVICE void run(const ThreadPlace& at, Shared& shared) const {
    if (kPhase == 0) {
      if (at.thread == 0) shared = {0, 0};
    } else if (kPhase == 1) {
      make(at, shared);
    } else if (at.thread == 0) {
      if (shared.nodata != 0) add_atomically(counts + 2 * at.block_y, static_cast<unsigned long long>(shared.nodata));
      if (shared.nan != 0) add_atomically(counts + 2 * at.block_y + 1, static_cast<unsigned long long>(shared.nan));
    }
  }

  HFD_DEVICE void make(const ThreadPlace& at, Shared& shared) const {
    const FinishTile& tile = tiles[at.block_y];
    const int32_t index = static_cast<int32_t>(at.block_x * kThreads + at.thread);
    Piece piece;
    piece.row = (tile.crop_row / kRows + index / groups) * kRows;
    piece.col = (tile.crop_col / kCols + index % groups) * kCols;
    if (piece.row >= tile.crop_row + tile.rows || piece.col >= tile.crop_col + tile.cols) return;
    piece.kept = kept_of(piece, tile);
    piece.logits = logits + static_cast<int64_t>(at.block_y) * classes * cells;
    const int32_t known = kStride >= 1 && kStride <= kCols ? kStride : stride;
    piece.cols = axis_at<kCols, kStride>(piece.col, known, logit_cols);
    piece.rows = axis_at<kRows, kStride>(piece.row, known, logit_rows);
    Leaders leaders;
    const bool inside = kStride > 1 && piece.cols.alone == 0 && piece.rows.alone == 0;
    if (inside) find_leaders<false>(piece, leaders);
    const bool careful = !inside || leaders.wild >= kTame;
    if (careful) find_leaders<true>(piece, leaders);
    const uint32_t gone = store_labels(at, piece, tile, leaders, shared);
    const bool calm = !careful && leaders.wild < kCalm;
    if (score != nullptr) store_score(piece, tile, leaders.best, gone, calm);
  }

  HFD_DEVICE static uint32_t kept_of(const Piece& piece, const FinishTile& tile) {
    const int32_t before = tile.crop_col - piece.col, behind = piece.col + kCols - tile.crop_col - tile.cols;
    const uint32_t across = (15u << (before > 0 ? before : 0)) & (15u >> (behind > 0 ? behind : 0));
    uint32_t kept = 0;
    HFD_UNROLL
    for (int r = 0; r < kRows; ++r)
      if (static_cast<uint32_t>(piece.row + r - tile.crop_row) < static_cast<uint32_t>(tile.rows)) kept |= across << (r * kCols);
    return kept;
  }

  // Where one class begins in the rows of logits that a thread reads: at its first logit, or with care at column 0.
  template <bool kCareful>
  HFD_DEVICE void first_class(const Piece& piece, const float* (&from)[kDown]) const {
    HFD_UNROLL
    for (int j = 0; j < kDown; ++j)
      from[j] = piece.logits + static_cast<int64_t>(within(piece.rows.first + j, logit_rows)) * logit_cols + (kCareful ? 0 : piece.cols.first);
  }

  // The logits of one class at this thread's pixels; then on to the next one. kCareful: pixels may be alone; else all lie between logits.
  template <bool kCareful>
  HFD_DEVICE void logits_at(const Piece& piece, const float* (&from)[kDown], float* values, uint32_t& wild) const {
    float stretched[kDown][kCols];
    HFD_UNROLL
    for (int j = 0; j < kDown; ++j) {
      float near[kAcross];
      HFD_UNROLL
      for (int k = 0; k < kAcross; ++k) {
        near[k] = from[j][kCareful ? within(piece.cols.first + k, logit_cols) : k];
        const uint32_t bits = bits_of(near[k]) & 0x7fffffffu;
        if (!kCareful) wild = bits > wild ? bits : wild;
      }
      HFD_UNROLL
      for (int i = 0; i < kCols; ++i) {
        const int32_t low = piece.cols.low[i];
        const float a = pick(near, low);
        const bool alone = kStride == 1 || (kCareful && (piece.cols.alone >> i & 1u) != 0);
        stretched[j][i] = alone ? a : lerp(a, pick(near, low + 1), piece.cols.fraction[i]);
      }
      from[j] += cells;
    }
    HFD_UNROLL
    for (int p = 0; p < kRows * kCols; ++p) {
      float column[kDown];
      HFD_UNROLL
      for (int j = 0; j < kDown; ++j) column[j] = stretched[j][p % kCols];
      const int32_t low = piece.rows.low[p / kCols];
      const float a = pick(column, low);
      const bool alone = kStride == 1 || (kCareful && (piece.rows.alone >> (p / kCols) & 1u) != 0);
      values[p] = alone ? a : lerp(a, pick(column, low + 1), piece.rows.fraction[p / kCols]);
    }
  }

  static HFD_DEVICE int32_t within(int32_t index, int32_t count) { return index < 0 ? 0 : index < count ? index : count - 1; }

  template <bool kCareful>
  HFD_DEVICE void find_leaders(const Piece& piece, Leaders& leaders) const {
    const float* from[kDown];
    float values[kRows * kCols];
    leaders.broken = leaders.wild = 0;
    HFD_UNROLL
    for (int p = 0; p < kRows * kCols; ++p) {
      leaders.best[p] = bits_as<float>(0xff800000u);  // -infinity: where all are that, or no number, it stays with class 0
      leaders.number[p] = 0;
    }
    first_class<kCareful>(piece, from);
    for (int32_t c = 0; c < classes; ++c) {
      logits_at<kCareful>(piece, from, values, leaders.wild);
      HFD_UNROLL
      for (int p = 0; p < kRows * kCols; ++p) {
        const bool wins = values[p] > leaders.best[p];
        leaders.best[p] = wins ? values[p] : leaders.best[p];
        leaders.number[p] = wins ? c : leaders.number[p];
        if (kCareful) leaders.broken |= (values[p] != values[p] ? 1u : 0u) << p;
      }
    }
  }

  struct Four {
    uint8_t x[kCols];
  };

  // Four bytes of a map, or those of them that are kept.
  static HFD_DEVICE void store_four(const Four& four, uint32_t kept, uint8_t* to) {
    if (kept == 15u && reinterpret_cast<uintptr_t>(to) % kCols == 0) return store_wide(four, to);
    HFD_UNROLL
    for (int i = 0; i < kCols; ++i)
      if (kept >> i & 1u) to[i] = four.x[i];
  }

  // Writes labels, counts, and gives the pixels that carry none.
  HFD_DEVICE uint32_t store_labels(const ThreadPlace& at, const Piece& piece, const FinishTile& tile, const Leaders& leaders,
                                    Shared& shared) const {
    const int32_t width = logit_cols * stride;
    const uint8_t* plane = status + static_cast<int64_t>(at.block_y) * logit_rows * stride * width;
    uint32_t holes = 0;
    HFD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const uint32_t kept = piece.kept >> (r * kCols) & 15u;
      if (kept == 0) continue;
      const uint8_t* from = plane + static_cast<int64_t>(piece.row + r) * width + piece.col;
      Four stat{}, label;
      if (wide_status)
        load_wide(from, stat);
      else
        HFD_UNROLL
        for (int i = 0; i < kCols; ++i)
          if (kept >> i & 1u) stat.x[i] = from[i];
      HFD_UNROLL
      for (int i = 0; i < kCols; ++i) {
        const int p = r * kCols + i;
        const bool hole = stat.x[i] == 1;
        holes |= (hole ? 1u : 0u) << p;
        label.x[i] = hole || (leaders.broken >> p & 1u) ? kNodataLabel : static_cast<uint8_t>(leaders.number[p]);
      }
      store_four(label, kept, labels + tile.at + static_cast<int64_t>(piece.row + r - tile.crop_row) * label_stride + piece.col - tile.crop_col);
    }
    count_bits(holes & piece.kept, shared.nodata);
    count_bits(leaders.broken & ~holes & piece.kept, shared.nan);
    return holes | leaders.broken;
  }

  static HFD_DEVICE void count_bits(uint32_t bits, uint32_t& to) {
    if (bits == 0) return;
    uint32_t count = 0;
    for (; bits != 0; bits &= bits - 1) ++count;
    add_atomically(&to, count);
  }

  template <bool kCareful>
  HFD_DEVICE void add_terms(const Piece& piece, const float* best, float* sums) const {
    const float* from[kDown];
    float values[kRows * kCols];
    uint32_t wild = 0;
    first_class<kCareful>(piece, from);
    for (int32_t c = 0; c < classes; ++c) {
      logits_at<kCareful>(piece, from, values, wild);
      HFD_UNROLL
      for (int p = 0; p < kRows * kCols; ++p) sums[p] += softmax_term<!kCareful>(values[p], best[p]);
    }
  }

  // Makes the sums relative to another class; with care whichever way they were made, for the bits are the same.
  HFD_DEVICE void divide_by_term(const Piece& piece, const float* best, float* sums) const {
    const float* from[kDown];
    float values[kRows * kCols];
    uint32_t wild = 0;
    first_class<true>(piece, from);
    HFD_UNROLL
    for (int j = 0; j < kDown; ++j) from[j] += score_class * cells;
    logits_at<true>(piece, from, values, wild);
    HFD_UNROLL
    for (int p = 0; p < kRows * kCols; ++p) sums[p] /= softmax_term(values[p], best[p]);
  }

  HFD_DEVICE void store_score(const Piece& piece, const FinishTile& tile, const float* best, uint32_t gone, bool calm) const {
    float sums[kRows * kCols] = {};
    if (calm)
      add_terms<false>(piece, best, sums);
    else
      add_terms<true>(piece, best, sums);
    if (score_class != kOwnClass) divide_by_term(piece, best, sums);
    HFD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      Four four;
      HFD_UNROLL
      for (int i = 0; i < kCols; ++i) {
        const int p = r * kCols + i;
        four.x[i] = gone >> p & 1u ? kNodataLabel : static_cast<uint8_t>(score_step(sums[p]));
      }
      const int64_t row = piece.row + r - tile.crop_row;
      if (const uint32_t kept = piece.kept >> (r * kCols) & 15u)
        store_four(four, kept, score + tile.score_at + row * score_stride + piece.col - tile.crop_col);
    }
  }
};

template <int kStride, int kRows>
void finish_strided(const FinishCall& call, const FinishBatch& batch, const CudaQueue& queue) {
  FinishBody<kStride, kRows> body{};
  body.label_stride = call.label_stride;
  body.score_stride = call.score_stride;
  body.labels = call.labels;
  body.score = call.score;
  body.score_class = static_cast<int32_t>(call.score_class);
  body.classes = static_cast<int32_t>(call.classes);
  body.logit_rows = static_cast<int32_t>(call.logit_size.rows);
  body.logit_cols = static_cast<int32_t>(call.logit_size.cols);
  body.stride = static_cast<int32_t>(call.stride);
  body.wide_status = call.status_size.cols % kCols == 0 && reinterpret_cast<uintptr_t>(call.status) % kCols == 0;
  const int64_t pixels = call.status_size.rows * call.status_size.cols;
  body.cells = call.logit_size.rows * call.logit_size.cols;
  for (int64_t first = 0; first < batch.count; first += kMostFinishBatch) {
    const int64_t count = batch.count - first < kMostFinishBatch ? batch.count - first : kMostFinishBatch;
    int64_t groups = 0, rows = 0;
    for (int64_t i = 0; i < count; ++i) {
      const FinishTile& tile = body.tiles[i] = batch.tiles[first + i];
      const int64_t across = (tile.crop_col + tile.cols - 1) / kCols - tile.crop_col / kCols + 1;
      const int64_t down = (tile.crop_row + tile.rows - 1) / kRows - tile.crop_row / kRows + 1;
      groups = across > groups ? across : groups;
      rows = down > rows ? down : rows;
    }
    body.groups = static_cast<int32_t>(groups);
    body.logits = call.logits + first * call.classes * body.cells;
    body.status = call.status + first * pixels;
    body.counts = batch.counts + 2 * first;
    launch(body, {pieces_of(groups * rows, body.kThreads), count}, queue, "finish");
  }
}

}  // namespace

void finish_cuda(const FinishCall& call, const FinishBatch& batch, const CudaQueue& queue) {
  if (call.stride == 1) return finish_strided<1, 2>(call, batch, queue);
  if (call.stride == 2) return finish_strided<2, 2>(call, batch, queue);
  if (call.stride == 4) return finish_strided<4, 4>(call, batch, queue);
  if (call.stride % 8 == 0) return finish_strided<8, 4>(call, batch, queue);
  finish_strided<0, 1>(call, batch, queue);
}

}  // namespace hfd
