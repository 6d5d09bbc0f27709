// The operations of ops.h that are built once per instruction set, and their choice at run time.
#pragma once

#include "engine/compute/ops.h"

namespace steelyard {

struct OpsFunctions {
  decltype(&RmsNorm) rms_norm;
  decltype(&SiluAndMultiply) silu_and_multiply;
  /// probabilities = softmax(logits), both [size].
  void (*softmax)(const float* logits, int size, float* probabilities);
  void (*attend)(const AttentionShape& shape, const float* queries, const KvBlock* blocks,
                 int position, float* scratch, float* out);
};

namespace simd_portable {
extern const OpsFunctions kOpsFunctions;
}
#if defined(STEELYARD_X86_KERNELS)
namespace simd_avx2 {
extern const OpsFunctions kOpsFunctions;
}
#endif

/// Those of the best instruction set of this CPU; the same for the life of the process.
const OpsFunctions& BestOpsFunctions();

}  // namespace steelyard
