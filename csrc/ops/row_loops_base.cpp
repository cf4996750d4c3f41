// The row loops for every processor of the architecture; CMakeLists.txt gives this file its flags.
#include "ops/finish_loops.h"
#include "ops/gather_bytes_loops.h"
#include "ops/gather_loops.h"
#include "ops/row_loops.h"
#include "ops/speckle_loops.h"

namespace hfd {

const RowLoops kRowLoopsBase = {kIsaName, gather_row, byte_rows, finish_block, speckle_block};

}  // namespace hfd
