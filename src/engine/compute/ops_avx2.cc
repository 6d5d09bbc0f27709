// Built with AVX2 and FMA.
#include "engine/compute/ops_body.h"

namespace steelyard::simd_avx2 {

const OpsFunctions kOpsFunctions = kAllOps;

}  // namespace steelyard::simd_avx2
