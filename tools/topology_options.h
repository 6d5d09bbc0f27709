// The ranks that experts are placed on, as the options of several subcommands give them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "steelyard/base/status.h"
#include "steelyard/placement/topology.h"

namespace steelyard {

/// Planning takes memory and time that grow with the square of it.
inline constexpr int kMostRanks = 1 << 14;

/// What was not given is 0 or empty.
struct TopologyOptions {
  int ranks = 0;
  int nodes = 0;
  std::string slots;   // a number for all ranks, or one for each
  std::string speeds;  // the same
  std::string dead;    // numbers of ranks, or "none"

  /// --ranks, --slots, --nodes, --speeds, --dead.
  void AddTo(CLI::App* command);
  /// --ranks, --slots and --nodes of ranks that are all alike.
  void AddPlainTo(CLI::App* command);
  bool any_given() const;

  /// The topology for `num_experts`. What was not given is that of `in_force`, where there is one:
  /// with another number of ranks the first ones stay what they are. Else --nodes is 1 and --slots
  /// is min(experts, ceil(experts / live ranks) + 1).
  /// Throws UsageError where options contradict each other or --ranks is missing; fails, naming the
  /// option and the rule, where the experts do not fit.
  Result<Topology> Resolve(int num_experts, const Topology* in_force) const;
};

}  // namespace steelyard
