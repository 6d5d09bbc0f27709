// Planning problems made from choices: small ones, of every kind that has broken a planner.
#pragma once

#include <optional>
#include <string_view>

#include "fuzz/choices.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

struct PlanCase {
  std::string_view policy;
  LoadShape shape;  // of every window
  Placement current;
  Topology target;
  PlanOptions options = {};
  int num_cycles = 1;
  double tokens = 1.0;  // loads are multiples of it
};

/// Nothing where the ranks that were drawn have no slot for some expert. Options may be out of
/// their range.
std::optional<PlanCase> DrawPlanCase(Choices& choices);

/// Ranks that have slots for `num_experts` as long as none is dead or has fewer than the others;
/// nothing where no topology is like that.
std::optional<Topology> DrawTopology(Choices& choices, int num_experts);

LoadWindow DrawWindow(Choices& choices, const LoadShape& shape, double tokens);

}  // namespace steelyard
