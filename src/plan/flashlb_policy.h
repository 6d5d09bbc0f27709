// The `flashlb` policy plans what vllm-ascend's FlashLB does: the balance of every bin, with the
// spread between bins taken as risk, for layers that have lost some of the balance last planned.
//
// State: for each layer, one over the imbalance that was last planned for it; 0 before the first
// plan.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

std::unique_ptr<Policy> MakeFlashlbPolicy();

}  // namespace steelyard
