// The packed layout of our own matrix kernels, and the product that each instruction set has of it.
//
// Weights [num_out, num_in] lie in panels of 16 outputs, [num_panels, num_in, 16], the last one
// filled up with zeros; so a product streams through memory once. In a bf16 panel the 16 outputs of
// one input stand in the order 0, 8, 1, 9, .. 7, 15: read as eight uint32, the lower halves are
// outputs 0..7 and the upper halves 8..15, which a shift and a mask turn into two vectors of
// float32. The layout is the same for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace steelyard {

inline constexpr int kPanelOutputs = 16;

/// y [num_rows, num_out] = x [num_rows, num_in] * w^T, all row-major.
struct PanelProduct {
  const std::byte* packed;
  const float* x;
  float* y;
  int num_rows;
  int num_in;
  int num_out;
};

/// Every (row, output) is one chain of additions over num_in from first to last, whatever num_rows
/// is.
using PanelFunction = void (*)(const PanelProduct&);

struct PanelFunctions {
  PanelFunction f32;
  PanelFunction bf16;
};

namespace simd_portable {
extern const PanelFunctions kPanelFunctions;
}
#if defined(STEELYARD_X86_KERNELS)
namespace simd_avx2 {
extern const PanelFunctions kPanelFunctions;
}
namespace simd_avx512 {
extern const PanelFunctions kPanelFunctions;
}
#endif

}  // namespace steelyard
