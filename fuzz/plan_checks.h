// What the headers of `placement` and `plan` promise of a plan, judged from their definitions and
// nothing else.
#pragma once

#include <string_view>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Ends the process where `status` refuses what `policy` must plan, or is not how it refuses.
void CheckRefusal(std::string_view policy, const PlanInput& input, const Status& status);

/// Ends the process where the plan that `policy` made breaks a promise: I1 and I2, empty slots,
/// shares, moves, limits, reports.
void CheckPlan(std::string_view policy, const PlanInput& input, const Plan& plan);

}  // namespace steelyard
