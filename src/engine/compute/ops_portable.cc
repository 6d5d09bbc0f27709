// For any CPU.
#include "engine/compute/ops_body.h"

namespace steelyard::simd_portable {

const OpsFunctions kOpsFunctions = kAllOps;

}  // namespace steelyard::simd_portable
