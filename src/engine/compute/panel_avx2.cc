// Built with AVX2 and FMA: 16 registers hold a block of 6 x 16 sums, the weights and an input.
#include "engine/compute/panel_body.h"

namespace steelyard::simd_avx2 {

struct Isa : TwoVectors {
  static constexpr int kAccumulators = 12;
  static constexpr int kMaxRows = 6;
};

const PanelFunctions kPanelFunctions = {Multiply<Isa, float>, Multiply<Isa, uint16_t>};

}  // namespace steelyard::simd_avx2
