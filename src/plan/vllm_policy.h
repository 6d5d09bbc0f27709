// The default policy of vLLM's expert balancer, faithful slot for slot: DeepSeek's rules with loads
// in float64 and ties by index, and what stays on a rank stays in its slot.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Plans on the sum of the last window, from scratch; what is in force decides only the slots
/// within a rank. A rank may end up with an expert twice (the reference does not look); the plan
/// says how often.
std::unique_ptr<Policy> MakeVllmPolicy();

}  // namespace steelyard
