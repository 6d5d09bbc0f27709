#include "engine/compute/gemm.h"

#include "engine/compute/panel_kernel.h"

namespace steelyard {

std::string_view ComputeTypeName(ComputeType type) {
  return type == ComputeType::kF32 ? "f32" : "bf16";
}

Result<std::unique_ptr<GemmKernel>> MakeGemmKernel(ComputeType type, std::span<const WeightShape>) {
  return MakePanelKernel(type, BestIsa());
}

}  // namespace steelyard
