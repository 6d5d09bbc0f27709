// Ids of packed layouts.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/compute/gemm.h"

namespace steelyard {

/// Never 0; differs when the kernel family, the type, the shape or one of `details` differs.
uint64_t HashLayout(std::string_view family, ComputeType type, const WeightShape& shape,
                    std::span<const int64_t> details);

}  // namespace steelyard
