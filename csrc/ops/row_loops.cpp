// Which variant of the row loops runs.
#include "ops/row_loops.h"

#include <cstdlib>

#include "common/refuse.h"

namespace hfd {
namespace {

// Narrowest first.
std::vector<const RowLoops*> compiled() {
  std::vector<const RowLoops*> all{&kRowLoopsBase};
#ifdef HFD_HAVE_AVX2
  all.push_back(&kRowLoopsAvx2);
#endif
#ifdef HFD_HAVE_AVX512
  all.push_back(&kRowLoopsAvx512);
#endif
  return all;
}

bool runs_here(const RowLoops* loops) {
#ifdef HFD_HAVE_AVX2
  if (loops == &kRowLoopsAvx2) return __builtin_cpu_supports("avx2");
#endif
#ifdef HFD_HAVE_AVX512
  if (loops == &kRowLoopsAvx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#endif
  return loops == &kRowLoopsBase;
}

std::vector<const RowLoops*> usable() {
  std::vector<const RowLoops*> kept;
  for (const RowLoops* loops : compiled())
    if (runs_here(loops)) kept.push_back(loops);
  return kept;
}

std::vector<std::string> names(const std::vector<const RowLoops*>& all) {
  std::vector<std::string> list;
  for (const RowLoops* loops : all) list.push_back(loops->name);
  return list;
}

const RowLoops& choose() {
  const std::vector<const RowLoops*> here = usable();
  const char* wanted = std::getenv("HFD_SIMD");
  if (wanted == nullptr || *wanted == '\0') return *here.back();
  std::string known;
  for (const RowLoops* loops : here) {
    if (std::string(wanted) == loops->name) return *loops;
    known += (known.empty() ? "" : ", ") + std::string(loops->name);
  }
  refuse("HFD_SIMD=", wanted, ": it must name a variant that was compiled and that this processor runs: ", known,
         "; unset it to take the widest");
}

}  // namespace

const RowLoops& row_loops() {
  static const RowLoops& chosen = choose();
  return chosen;
}

std::vector<std::string> compiled_row_loops() { return names(compiled()); }
std::vector<std::string> usable_row_loops() { return names(usable()); }

}  // namespace hfd
