// What finish accepts; the loops are in finish_cpu.cpp and finish_cuda.cu.
#include "ops/finish.h"

#include "common/refuse.h"

namespace hfd {

void check_finish(const FinishCall& call) {
  const Size logit = call.logit_size, full = call.status_size, kept = call.kept;
  check_threads(call.threads);
  if (call.classes < 1 || call.classes > kMaxClasses)
    refuse("logits has ", call.classes, " classes: a uint8 map holds 1 to ", kMaxClasses, " beside nodata; merge classes");
  if (call.score_class < kOwnClass || call.score_class >= call.classes)
    refuse("score_class=", call.score_class, " of ", call.classes, " classes: it must be 0 to ", call.classes - 1,
           ", or -1 for the class that each pixel gets");
  if (logit.rows < 1 || logit.cols < 1)
    refuse("logits has ", logit.rows, " x ", logit.cols, " cells: it must have at least one row and column");
  if (call.stride < 1 || call.stride > 4096)
    refuse("logit_stride=", call.stride, ": it must be 1 to 4096 pixels; take it from the spec (logit_stride_px)");
  if (full.rows != logit.rows * call.stride || full.cols != logit.cols * call.stride)
    refuse("status has shape (", full.rows, ", ", full.cols, ") and logits ", logit.rows, " x ", logit.cols, " cells of stride ",
           call.stride, ": status must be (", logit.rows * call.stride, ", ", logit.cols * call.stride,
           "), the tile that gather filled");
  if (kept.rows < 1 || kept.cols < 1)
    refuse("labels has shape (", kept.rows, ", ", kept.cols, "): it must have at least one row and column");
  const bool inside = call.crop.row >= 0 && call.crop.col >= 0 && call.crop.row <= full.rows - kept.rows &&
                      call.crop.col <= full.cols - kept.cols;
  if (!inside)
    refuse("crop=(", call.crop.row, ", ", call.crop.col,
           ") with labels of (", kept.rows, ", ", kept.cols, "): it leaves the tile of (", full.rows, ", ", full.cols,
           "); crop + labels must fit into it");
}

}  // namespace hfd
