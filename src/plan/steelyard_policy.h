// The project's own policy (docs/planning.md): keeps what is near its lower bound, repairs the rest
// by the moves that pay for themselves, and plans a contiguous layer from nothing. Splits evenly.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

std::unique_ptr<Policy> MakeSteelyardPolicy();

}  // namespace steelyard
