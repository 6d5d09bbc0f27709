// Built with AVX-512F: one register holds the 16 outputs of a panel; 32 registers hold 12 rows of
// two panels.
#include "engine/compute/panel_body.h"

namespace steelyard::simd_avx512 {

struct Isa {
  using F32 = F32x16;
  static constexpr int kNumVectors = 1;
  static constexpr int kAccumulators = 24;
  static constexpr int kMaxRows = 12;

  STEELYARD_INLINE static void LoadWeights(const float* from, F32 (&w)[1]) {
    w[0] = Load<F32>(from);
  }
  STEELYARD_INLINE static void LoadWeights(const uint16_t* from, F32 (&w)[1]) {
    F32x8 halves[2];
    UnpackPairs(from, halves);
    w[0] = __builtin_shufflevector(halves[0], halves[1], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                                   13, 14, 15);
  }
};

const PanelFunctions kPanelFunctions = {Multiply<Isa, float>, Multiply<Isa, uint16_t>};

}  // namespace steelyard::simd_avx512
