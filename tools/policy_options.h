// How to plan, as the options of several subcommands say it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "steelyard/base/status.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

struct PolicyOptions {
  std::string policy = "steelyard";
  int threads = 1;
  PlanOptions plan;
  bool model_has_bytes = false;  // the size of an expert comes from a model, not from an option

  /// --policy, --groups, --price, --split, --threads, --seed.
  void AddTo(CLI::App* command);
  /// --predictor, --rank-cost, --expert-bytes, and AddLimitsTo(): for plans of recorded loads.
  void AddOfflineTo(CLI::App* command);

  /// --max-moves, --max-bytes, --max-moves-per-pair, --max-moves-per-rank,
  /// --max-moves-across-nodes.
  void AddLimitsTo(CLI::App* command);

  /// Throws UsageError for options that contradict each other.
  Status Check() const;
  /// Throws UsageError unless the groups divide the experts.
  void CheckGroups(int num_experts) const;
};

/// Throws UsageError, naming `option`, where only another policy plans for ranks like `target` from
/// a placement on `in_force`.
void CheckTakesRanks(const std::string& option, std::string_view policy, const Topology& in_force,
                     const Topology& target);

}  // namespace steelyard
