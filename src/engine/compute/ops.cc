#include "engine/compute/ops.h"

#include <algorithm>

#include "engine/compute/ops_functions.h"
#include "engine/compute/panel_kernel.h"
#include "steelyard/base/check.h"

namespace steelyard {

const OpsFunctions& BestOpsFunctions() {
#if defined(STEELYARD_X86_KERNELS)
  static const OpsFunctions& best =
      IsaSupported(Isa::kAvx2) ? simd_avx2::kOpsFunctions : simd_portable::kOpsFunctions;
  return best;
#else
  return simd_portable::kOpsFunctions;
#endif
}

void RmsNorm(const float* x, const float* weight, int num_rows, int width, float epsilon,
             float* y) {
  BestOpsFunctions().rms_norm(x, weight, num_rows, width, epsilon, y);
}

void SiluAndMultiply(const float* gate_up, int num_rows, int width, float* out) {
  BestOpsFunctions().silu_and_multiply(gate_up, num_rows, width, out);
}

void AddInPlace(const float* x, int64_t size, float* y) {
  for (int64_t i = 0; i < size; ++i) {
    y[i] += x[i];
  }
}

void AddScaled(const float* x, float scale, int64_t size, float* y) {
  for (int64_t i = 0; i < size; ++i) {
    y[i] += scale * x[i];
  }
}

void SoftmaxTopK(const float* logits, int num_experts, int top_k, bool normalize, int32_t* experts,
                 float* weights, float* scratch) {
  STEELYARD_CHECK_LE(top_k, num_experts);
  constexpr float kTaken = -1.0F;  // no probability is below 0
  BestOpsFunctions().softmax(logits, num_experts, scratch);
  float sum = 0.0F;
  for (int k = 0; k < top_k; ++k) {
    // The first that is free, then any that is larger: NaNs still give top_k different experts.
    int best = static_cast<int>(
        std::find_if(scratch, scratch + num_experts, [](float p) { return p != kTaken; }) -
        scratch);
    for (int e = best + 1; e < num_experts; ++e) {
      if (scratch[e] > scratch[best]) best = e;
    }
    experts[k] = best;
    weights[k] = scratch[best];
    sum += scratch[best];
    scratch[best] = kTaken;
  }
  if (normalize) {
    for (int k = 0; k < top_k; ++k) {
      weights[k] /= sum;
    }
  }
}

int32_t ArgMax(std::span<const float> values) {
  STEELYARD_CHECK(!values.empty());
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace steelyard
