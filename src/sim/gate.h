// A plan with only those of its layers changed that its policy wants changed.
#pragma once

#include "steelyard/base/status.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Slots and shares of `plan` in layers whose report says `wanted`, those of `in_force` in the
/// others. Requires: both on one topology, with the same layers and experts.
Result<Placement> OnlyWanted(const Plan& plan, const Placement& in_force);

}  // namespace steelyard
