// Included by csrc/common/log_cuda.h inside namespace hfd where no CUDA compiler reads it.
inline float fused(float a, float b, float c) { return std::fmaf(a, b, c); }

inline float fused_up(float a, float b, float c) {
  const volatile float x = a, y = b, z = c;  // computed here, between the two changes of the rounding
  const int before = std::fegetround();
  std::fesetround(FE_UPWARD);
  const volatile float found = std::fmaf(x, y, z);
  std::fesetround(before);
  return found;
}

// Up to four units in the last place off, as no GPU's is.
inline float near_reciprocal(float x) { return bits_as<float>(bits_of(1.0f / x) + (bits_of(x) * 2654435761u >> 8) % 9u - 4u); }
