// The policy of DeepSeek's EPLB, faithful bit for bit: hierarchical where the nodes divide the
// groups, else global.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Plans on the sum of the last window, from scratch whatever is in force. A rank may end up with
/// an expert twice (the reference does not look); the plan says how often.
std::unique_ptr<Policy> MakeDeepseekPolicy();

}  // namespace steelyard
