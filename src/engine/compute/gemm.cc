#include "engine/compute/gemm.h"

#include <utility>

#include "engine/compute/onednn_kernel.h"
#include "engine/compute/panel_kernel.h"
#include "engine/compute/self_check.h"
#include "steelyard/base/log.h"

namespace steelyard {

std::string_view ComputeTypeName(ComputeType type) {
  return type == ComputeType::kF32 ? "f32" : "bf16";
}

Result<std::unique_ptr<GemmKernel>> MakeGemmKernel(ComputeType type,
                                                   std::span<const WeightShape> shapes) {
  auto onednn = MakeOneDnnKernel(type, shapes, OneDnnDemand::kFixedRowKernel);
  const Status refusal = onednn.ok() ? BatchInvarianceSelfCheck(**onednn, shapes) : onednn.status();
  if (refusal.ok()) {
    Log(LogLevel::kInfo, "products run on {}", (*onednn)->name());
    return onednn;
  }
  std::unique_ptr<GemmKernel> own = MakePanelKernel(type, BestIsa());
  STEELYARD_RETURN_IF_ERROR(BatchInvarianceSelfCheck(*own, shapes));
  Log(LogLevel::kInfo, "products run on {}, not on oneDNN: {}", own->name(), refusal.message());
  return own;
}

}  // namespace steelyard
