// Rotary position embedding, in the arithmetic of Hugging Face transformers: frequencies and angles
// are float32, so that the angle of a late position carries the same rounding.
#include <cmath>
#include <cstddef>

#include "engine/compute/ops.h"
#include "steelyard/base/check.h"

namespace steelyard {

void FillRopeTables(int max_positions, int head_dim, double theta, float* cos_table,
                    float* sin_table) {
  STEELYARD_CHECK_EQ(head_dim % 2, 0);
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float inverse_frequency = 1.0F / static_cast<float>(std::pow(theta, double{exponent}));
    for (int position = 0; position < max_positions; ++position) {
      const float angle = static_cast<float>(position) * inverse_frequency;
      const size_t at = static_cast<size_t>(position) * half + i;
      cos_table[at] = static_cast<float>(std::cos(double{angle}));
      sin_table[at] = static_cast<float>(std::sin(double{angle}));
    }
  }
}

void ApplyRope(float* head, int head_dim, const float* cos_row, const float* sin_row) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float first = head[i];
    const float second = head[i + half];
    head[i] = first * cos_row[i] - second * sin_row[i];
    head[i + half] = second * cos_row[i] + first * sin_row[i];
  }
}

}  // namespace steelyard
