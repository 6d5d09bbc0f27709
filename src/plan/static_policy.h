// The baseline that never moves anything.
#pragma once

#include <memory>

#include "steelyard/plan/policy.h"

namespace steelyard {

std::unique_ptr<Policy> MakeStaticPolicy();

}  // namespace steelyard
