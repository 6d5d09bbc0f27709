// The incremental policy of vLLM-Ascend (SwiftBalanceEplb, redundancy anywhere), faithful slot for
// slot, the order of CPython's sets included.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Plans on the sum of the last window, from what is in force. Where the sum over layers of the
/// largest rank load falls by less than 5 %, the reference calls its own plan unchanged (and its
/// engine applies it all the same): the plan is whole, and all its layers are reported as not
/// wanted.
///
/// The reference takes no duplicates on a rank. Here the second slot of an expert is redundant
/// wherever it is: a layer that is planned has no duplicate afterwards, one that is kept keeps its
/// own.
std::unique_ptr<Policy> MakeSwiftPolicy();

}  // namespace steelyard
