// Few classes are compared with whole vectors of labels, whatever the map looks like; the time grows with their number. From kCompared on,
// counting one label after the other is faster: into several tables in turn, as adding to a number just written waits for it.
#include "ops/label_counts.h"

#include <algorithm>

#include "common/lanes.h"

namespace hfd {
namespace {

constexpr int kCompared = 24, kTogether = 4, kTables = 4, kLabels = 256;
constexpr int64_t kVectors = 255;  // a byte counts them

typedef int64_t Tables[kTables][kLabels];

// At most kVectors whole vectors, against kTogether classes from `first` on.
void compare_some(const uint8_t* row, int64_t vectors, int first, int64_t* counts) {
  Bytes found[kTogether] = {};
  for (int64_t vector = 0; vector < vectors; ++vector) {
    const Bytes labels = load_lanes<Bytes>(row + vector * kBytes);
    for (int i = 0; i < kTogether; ++i) found[i] -= (Bytes)(labels == static_cast<uint8_t>(first + i));  // a mask is -1
  }
  for (int i = 0; i < kTogether; ++i) counts[i] += sum_bytes(found[i]);
}

// counts[kLabels]; those of `classes` and above may hold anything.
void compare_row(const uint8_t* row, int64_t cols, int classes, int64_t* counts) {
  for (int64_t vectors = cols / kBytes; vectors > 0;) {
    const int64_t some = std::min(vectors, kVectors);
    for (int first = 0; first < classes; first += kTogether) compare_some(row, some, first, counts + first);
    row += some * kBytes, vectors -= some;
  }
  for (int64_t col = 0; col < cols % kBytes; ++col) ++counts[row[col]];
}

void tabulate_row(const uint8_t* row, int64_t cols, Tables& tables) {
  int64_t col = 0;
  for (; col + kTables <= cols; col += kTables)
    for (int i = 0; i < kTables; ++i) ++tables[i][row[col + i]];
  for (; col < cols; ++col) ++tables[0][row[col]];
}

}  // namespace

void count_labels_cpu(const Plane& labels, int classes, int64_t* counts) {
  Tables tables = {};
  for (int64_t row = 0; row < labels.size.rows; ++row) {
    const uint8_t* line = reinterpret_cast<const uint8_t*>(labels.row(row));
    if (classes <= kCompared)
      compare_row(line, labels.size.cols, classes, tables[0]);
    else
      tabulate_row(line, labels.size.cols, tables);
  }
  int64_t others = labels.size.rows * labels.size.cols;
  for (int label = 0; label < classes; ++label) {
    int64_t found = 0;
    for (const auto& table : tables) found += table[label];
    counts[label] += found;
    others -= found;
  }
  counts[classes] += others;
}

}  // namespace hfd
