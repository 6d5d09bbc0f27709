// Vectors of float for the files that are compiled once per instruction set.
//
// Each such file is built with its own compiler options, which choose the namespace STEELYARD_SIMD:
// code of two instruction sets never shares a symbol, so the linker cannot hand a CPU instructions
// that it lacks. These files include no library header with inline functions, for the same reason.
#pragma once

#include <cstdint>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define STEELYARD_SIMD simd_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define STEELYARD_SIMD simd_avx2
#else
#define STEELYARD_SIMD simd_portable
#endif

#define STEELYARD_INLINE inline __attribute__((always_inline))

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed bf16 pairs are read as uint32");

namespace steelyard::STEELYARD_SIMD {

template <int kNumLanes>
struct VectorOf {
  using F32 [[gnu::vector_size(kNumLanes * 4)]] = float;
  using I32 [[gnu::vector_size(kNumLanes * 4)]] = int32_t;
  using U32 [[gnu::vector_size(kNumLanes * 4)]] = uint32_t;
};

using F32x8 = VectorOf<8>::F32;
using I32x8 = VectorOf<8>::I32;

template <typename Vector, typename Element>
STEELYARD_INLINE Vector Load(const Element* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

template <typename Vector>
STEELYARD_INLINE void Store(float* to, Vector v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

template <typename Vector>
STEELYARD_INLINE Vector Broadcast(float value) {
  return value - Vector{};  // exact for every value, -0 too
}

/// a * b + c, rounded once where the instruction set has that, twice where it would be slow.
STEELYARD_INLINE F32x8 Fma(F32x8 a, F32x8 b, F32x8 c) {
#if defined(__FMA__)
  return (F32x8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FP_FAST_FMAF)
  for (int i = 0; i < 8; ++i) {
    c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  }
  return c;
#else
  return a * b + c;
#endif
}

#if defined(__AVX512F__)
using F32x16 = VectorOf<16>::F32;
STEELYARD_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return (F32x16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
#endif

}  // namespace steelyard::STEELYARD_SIMD
