// For any CPU; the compiler lowers vectors of eight to what there is. Blocks are small, because
// that is often 16 registers of four.
#include "engine/compute/panel_body.h"

namespace steelyard::simd_portable {

struct Isa : TwoVectors {
  static constexpr int kAccumulators = 6;
  static constexpr int kMaxRows = 3;
};

const PanelFunctions kPanelFunctions = {Multiply<Isa, float>, Multiply<Isa, uint16_t>};

}  // namespace steelyard::simd_portable
