// The loops over rows, compiled once per instruction set from the same text (gather_loops.h, finish_loops.h, speckle_loops.h)
// and chosen when the first of them is needed. Every variant gives the same bits: no contraction, no reordering, the same formula per pixel.
//
// A file compiled for newer processors must not hold an inline function that other files hold too: the linker keeps one of the
// copies, and an older processor may then meet instructions it lacks. So those files use records and static functions only; a
// test reads their symbols.
#pragma once

#include <string>
#include <vector>

#include "ops/finish_block.h"
#include "ops/gather_bytes.h"
#include "ops/gather_row.h"
#include "ops/speckle_block.h"

namespace hfd {

struct RowLoops {
  const char* name;  // sse, avx2, avx512, neon or plain
  GatherRowLoop gather_row;
  ByteRowsLoop byte_rows;
  FinishBlockLoop finish_block;
  SpeckleBlockLoop speckle_block;
};

extern const RowLoops kRowLoopsBase, kRowLoopsAvx2, kRowLoopsAvx512;  // the last two where they were compiled

// What runs: the widest variant of this processor, or the one that the environment's HFD_SIMD names; asked once.
// Throws std::invalid_argument if HFD_SIMD names none that can run here.
const RowLoops& row_loops();

std::vector<std::string> compiled_row_loops();
std::vector<std::string> usable_row_loops();  // of the compiled ones, those that this processor can run

}  // namespace hfd
