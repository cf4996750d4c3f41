// A library loaded beside us may have switched flush-to-zero on or changed the rounding of any thread; every worker sets both on
// entry and gives them back when it leaves, so that results do not depend on who else lives in the process.
#pragma once

#include <cfenv>
#include <cfloat>
#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace hfd {

static_assert(FLT_EVAL_METHOD == 0, "float32 arithmetic must be done in float32 (on 32-bit x86: -msse2 -mfpmath=sse)");

class FloatEnvironment {
 public:
  FloatEnvironment() : before_(read()) { write(kDefault); }
  ~FloatEnvironment() { write(before_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
#if defined(__SSE2__)
  using Word = unsigned int;
  static constexpr Word kDefault = 0x1f80;  // MXCSR: exceptions masked, round to nearest, no FTZ, no DAZ
  static Word read() { return _mm_getcsr(); }
  static void write(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kDefault = 0;  // FPCR: round to nearest, no flush-to-zero, no default NaN
  static Word read() {
    Word word;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void write(Word word) { __asm__ __volatile__("msr fpcr, %0" : : "r"(word)); }
#else
  using Word = int;
  static constexpr Word kDefault = FE_TONEAREST;
  static Word read() { return std::fegetround(); }
  static void write(Word word) { std::fesetround(word); }
#endif
  Word before_;
};

}  // namespace hfd
