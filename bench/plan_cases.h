// What the planning benchmarks plan: loads that are made up, and the placement in force.
//
// A layer's loads are log-normal with sigma 1; each window after the first is 0.8 of the one before
// and 0.2 of a fresh one.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "steelyard/base/executor.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

struct PlanShape {
  int num_layers = 0;
  int num_experts = 0;
  int num_ranks = 0;
  int slots_per_rank = 0;
};

/// What of a policy's repertoire a plan exercises.
struct PlanUse {
  const char* policy = "steelyard";
  int num_windows = 1;
  int num_bins = 1;
  int num_phases = 1;
  SplitRule split = SplitRule::kEven;
};

/// `kScratch`: the first plan, from the contiguous placement. `kReplan`: the loads have drifted by
/// a window since the policy's own plan.
enum class Start : uint8_t { kScratch, kReplan };

inline std::vector<double> LogNormalCounts(size_t num_counts, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> counts(num_counts);
  for (double& count : counts) count = 1000.0 * std::exp(normal(random));
  return counts;
}

/// A plan that can be made again and again. A re-plan with several windows of history is the one
/// after as many plans, so that the policy's state remembers them.
class PlanCase {
 public:
  PlanCase(const PlanShape& shape, const PlanUse& use, Start start, Executor& executor)
      : executor_(&executor),
        num_windows_(use.num_windows),
        policy_(MakePolicy(use.policy).value()),
        current_(
            Placement::Contiguous(Topology::Create(shape.num_ranks, shape.slots_per_rank).value(),
                                  shape.num_layers, shape.num_experts)
                .value()) {
    options_.split = use.split;
    const LoadShape loads = {.num_bins = use.num_bins,
                             .num_phases = use.num_phases,
                             .num_layers = shape.num_layers,
                             .num_experts = shape.num_experts};
    std::vector<double> counts = LogNormalCounts(loads.num_counts(), 1);
    windows_.push_back(LoadWindow::Create(loads, counts).value());
    if (start == Start::kScratch) return;
    for (int i = 0; i < use.num_windows; ++i) {
      const Plan plan = Make();
      current_ = plan.placement;
      state_ = std::move(next_state_);
      const std::vector<double> fresh = LogNormalCounts(loads.num_counts(), 2 + i);
      for (size_t k = 0; k < counts.size(); ++k) counts[k] = 0.8 * counts[k] + 0.2 * fresh[k];
      windows_.push_back(LoadWindow::Create(loads, counts).value());
    }
    next_state_ = state_;
  }

  /// Makes the plan; ResetState() must come between two calls.
  Plan Make() {
    const auto history =
        std::span<const LoadWindow>(windows_).last(std::min<size_t>(windows_.size(), num_windows_));
    return policy_
        ->MakePlan({.current = &current_, .history = history, .options = options_}, next_state_,
                   {.executor = executor_})
        .value();
  }
  void ResetState() { next_state_ = state_; }

 private:
  Executor* executor_;
  int num_windows_;
  std::unique_ptr<Policy> policy_;
  Placement current_;
  PlanOptions options_;
  std::vector<LoadWindow> windows_;
  PolicyState state_;
  PolicyState next_state_;  // that Make() reads and changes
};

}  // namespace steelyard
