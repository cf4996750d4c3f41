// Repeats recorded native calls (tests/recorded.py) without Python: reads calls, writes the bytes of their outputs.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "ops/finish.h"
#include "ops/gather.h"
#include "ops/row_loops.h"
#include "replay_blend.h"
#include "replay_speckle.h"
#include "replay_tables.h"

namespace {

constexpr uint8_t kPoison = 0xA5;

class Reader {
 public:
  explicit Reader(std::vector<char> raw) : raw_(std::move(raw)) {}
  bool empty() const { return at_ == raw_.size(); }
  template <class T>
  std::vector<T> take(int64_t count) {
    std::vector<T> taken(static_cast<size_t>(count));
    std::memcpy(taken.data(), raw_.data() + at_, taken.size() * sizeof(T));
    at_ += taken.size() * sizeof(T);
    return taken;
  }

 private:
  std::vector<char> raw_;
  size_t at_ = 0;
};

template <class T>
void write(std::ofstream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

std::vector<float> floats(const std::vector<double>& values, int64_t first, int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

void replay_gather(Reader& in, std::ofstream& out) {
  const auto head = in.take<int64_t>(17);
  const int64_t bands = head[3], rows = head[4], cols = head[5], tile_rows = head[12], tile_cols = head[13];
  const bool clipped = head[14] != 0;
  const auto numbers = in.take<double>(3 + (clipped ? 4 : 2) * bands);
  hfd::GatherConfig config{static_cast<hfd::Unit>(head[1]), static_cast<hfd::Unit>(head[2]), static_cast<float>(numbers[0]),
                           static_cast<float>(numbers[1]), in.take<double>(head[15]), static_cast<float>(numbers[2]), {}, {},
                           floats(numbers, 3, bands), floats(numbers, 3 + bands, bands)};
  if (clipped) {
    config.clip_low = floats(numbers, 3 + 2 * bands, bands);
    config.clip_high = floats(numbers, 3 + 3 * bands, bands);
  }
  const auto valid = in.take<char>(head[16] ? rows * cols : 0);
  const int64_t size = in.take<int64_t>(1)[0];
  const auto memory = in.take<char>(size);
  std::vector<float> tile(bands * tile_rows * tile_cols);
  std::memset(tile.data(), kPoison, tile.size() * sizeof(float));
  std::vector<uint8_t> status(tile_rows * tile_cols, kPoison);
  const hfd::Image values{memory.data() + head[6], bands, {rows, cols}, head[7], head[8], head[9]};
  hfd::Plane valid_plane;
  if (head[16]) valid_plane = {valid.data(), {rows, cols}, cols, 1};
  hfd::GatherCall call{values, static_cast<hfd::Element>(head[0]), valid_plane, {0, 0}, {rows, cols}, {head[10], head[11]},
                       {tile_rows, tile_cols}, tile.data(), status.data(), 2};
  hfd::Gather(config).run(call);
  write(out, tile);
  write(out, status);
  if (tile_rows % 2 != 0 || tile_cols % 2 != 0) return;
  std::vector<uint8_t> cells(bands * tile_rows * tile_cols, kPoison);
  call.cells = cells.data();
  call.bytes = {0.07f, 101};
  hfd::Gather(config).run(call);
  write(out, cells);
}

void replay_finish(Reader& in, std::ofstream& out) {
  const auto head = in.take<int64_t>(11);
  const int64_t classes = head[0], rows = head[1], cols = head[2], stride = head[3], pitch = head[7] + head[8];
  const auto logits = in.take<float>(classes * rows * cols);
  const auto status = in.take<uint8_t>(rows * stride * cols * stride);
  std::vector<uint8_t> labels(head[6] * pitch, kPoison), score(head[6] * pitch, kPoison);
  const hfd::FinishCounts counts = hfd::finish({logits.data(), classes, {rows, cols}, stride, status.data(),
                                                {rows * stride, cols * stride}, {head[4], head[5]}, {head[6], head[7]},
                                                labels.data(), pitch, head[9] ? score.data() : nullptr, pitch, 2, head[10]});
  write(out, labels);
  write(out, score);
  write(out, std::vector<int64_t>{counts.nodata, counts.nan});
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return std::fprintf(stderr, "usage: replay calls.bin outputs.bin\n"), 2;
  std::ifstream file(arguments[1], std::ios::binary);
  Reader in(std::vector<char>(std::istreambuf_iterator<char>(file), {}));
  std::ofstream out(arguments[2], std::ios::binary);
  int64_t calls = 0;
  for (; !in.empty(); ++calls) switch (in.take<int64_t>(1)[0]) {
      case 1: replay_gather(in, out); break;
      case 2: replay_finish(in, out); break;
      case 3: replay_speckle(in, [&](const std::vector<float>& made) { write(out, made); }); break;
      case 4: replay_blend(in, [&](const std::vector<float>& made) { write(out, made); }); break;
      default: replay_tables(in, [&](const std::vector<float>& made) { write(out, made); }, kPoison);
    }
  std::printf("%lld calls, loops: %s\n", static_cast<long long>(calls), hfd::row_loops().name);
  return out.flush() ? 0 : 1;
}
