// The baseline that knows nothing: a fresh seeded placement without duplicates for every window.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Its state is one value, the number of plans made so far: together with the seed it decides the
/// next plan.
std::unique_ptr<Policy> MakeRandomPolicy();

}  // namespace steelyard
