// The proof at start that a kernel is batch-invariant on this machine.
#pragma once

#include <span>

#include "engine/compute/gemm.h"

namespace steelyard {

/// Multiplies random rows of each shape one by one and in batches of every size up to 9 and of
/// those around the powers of two up to 256, at changing positions, and compares bit for bit; packs
/// twice over different bytes and compares those too. Calls Prepare(). Costs about 1600 rows of
/// each shape.
///
/// Fails with kInternal, naming kernel, shape, batch and row, at the first difference, and as
/// Prepare() does.
Status BatchInvarianceSelfCheck(GemmKernel& kernel, std::span<const WeightShape> shapes);

}  // namespace steelyard
