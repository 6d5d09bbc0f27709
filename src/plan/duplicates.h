// What makes a faithful policy's placement fit to be committed: no rank holds an expert twice (I2).
#pragma once

#include <span>

#include "steelyard/placement/placement.h"

namespace steelyard {

struct WithoutDuplicates {
  Placement placement;   // split evenly
  int num_replaced = 0;  // slots that held a duplicate
};

/// Fills each duplicate's slot, in slot order, with the expert that has the largest load per copy
/// among those its rank lacks (ties to the lowest expert). Duplicates do not count as copies.
/// `loads` is [num_layers, num_experts]. Fails with kInvalidArgument where a rank has more slots
/// than there are experts.
Result<WithoutDuplicates> ReplaceDuplicates(const Placement& placement,
                                            std::span<const double> loads);

}  // namespace steelyard
