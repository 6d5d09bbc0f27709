// Our own matrix kernels: batch-invariant by construction, for every x86-64 and any other CPU.
#pragma once

#include <memory>

#include "engine/compute/gemm.h"

namespace steelyard {

enum class Isa { kPortable, kAvx2, kAvx512 };

/// True when this build has the kernel and this CPU and operating system can run it.
bool IsaSupported(Isa isa);
Isa BestIsa();

/// "portable-f32", "avx2-bf16" and so on. All instruction sets share one packed layout; kAvx2 and
/// kAvx512 give the same bits, kPortable may round each product by itself. Requires:
/// IsaSupported(isa).
std::unique_ptr<GemmKernel> MakePanelKernel(ComputeType type, Isa isa);

}  // namespace steelyard
