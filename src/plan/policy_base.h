// What policies share around their own search: the memory of the report, and for those that plan
// each layer by itself on one window, the loop over layers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "plan/plan_builder.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// A policy that needs no memory of its own before a plan; one that does extends Prepare().
class ReportingPolicy : public Policy {
 public:
  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) override;

 protected:
  PlanBuilder builder_;
};

/// A policy that plans every layer by itself on the last window, for the ranks in force. It may
/// leave duplicates.
class LayerwisePolicy : public ReportingPolicy {
 public:
  std::string_view name() const final { return name_; }
  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) final;
  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) final;

 protected:
  explicit LayerwisePolicy(std::string_view name) : name_(name) {}

  /// Takes memory for `num_workers` workers or more.
  virtual void PrepareWorkers(const Placement& current, const LoadShape& window_shape,
                              int num_workers) = 0;

  /// Comes before the layers of each plan: refuses what this policy does not take, beyond what
  /// CheckPlainInput() does, and keeps what all layers need. `state` is what the policy keeps from
  /// this plan, if it succeeds.
  virtual Status Begin(const PlanInput& input, PolicyState& state) = 0;

  /// Writes the expert of every slot of a layer, [num_slots]. Calls for different workers run at
  /// the same time: of `state` and of members, each touches what is its layer's or its worker's.
  virtual void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& state,
                          std::span<int32_t> slot_to_expert) = 0;

  /// Comes after all layers; `decisions` [num_layers] says of each whether its slots changed.
  virtual void Judge(std::span<LayerDecision> decisions) const = 0;

  /// A layer's tokens in the last window, [num_experts], in memory of the worker.
  std::span<const double> SumOfLayer(const PlanInput& input, int layer_idx, int worker_idx);

 private:
  std::string_view name_;
  std::vector<std::vector<double>> loads_;  // [num_workers][num_experts]
};

}  // namespace steelyard
