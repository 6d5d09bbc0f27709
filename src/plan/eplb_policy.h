// What `deepseek` and `vllm` have in common: DeepSeek's rules, in the arithmetic of either.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "plan/deepseek_layer.h"
#include "plan/policy_base.h"

namespace steelyard {

/// Fails with kInvalidArgument where the reference does: groups that its nodes divide must divide
/// the experts. Where it plans globally, groups are not looked at.
Status CheckGroups(int num_groups, const Placement& current);

/// Plans from scratch, whatever is in force.
template <typename Arithmetic>
class EplbPolicy : public LayerwisePolicy {
 public:
  explicit EplbPolicy(std::string_view name) : LayerwisePolicy(name) {}

 protected:
  struct Worker {
    std::vector<float> weight;          // [num_experts]
    std::vector<int32_t> slot_to_copy;  // [num_slots]
    EplbLayer<Arithmetic> layer;
  };

  void PrepareWorkers(const Placement& current, const LoadShape& /*window_shape*/,
                      int num_workers) override {
    workers_.resize(std::max<size_t>(workers_.size(), num_workers));
    for (Worker& worker : workers_) {
      worker.weight.resize(current.num_experts());
      worker.slot_to_copy.resize(current.num_slots());
    }
  }

  Status Begin(const PlanInput& input, PolicyState& /*state*/) override {
    return CheckGroups(input.options.num_groups, *input.current);
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& /*state*/,
                  std::span<int32_t> slot_to_expert) override {
    Worker& worker = workers_[worker_idx];
    const std::span<const double> loads = SumOfLayer(input, layer_idx, worker_idx);
    std::transform(loads.begin(), loads.end(), worker.weight.begin(),
                   [](double tokens) { return static_cast<float>(tokens); });
    worker.layer.Place(worker.weight, input.options.num_groups, input.current->topology(),
                       slot_to_expert, worker.slot_to_copy);
  }

  void Judge(std::span<LayerDecision> decisions) const override {
    for (LayerDecision& decision : decisions) {
      decision.from_scratch = decision.verdict == LayerVerdict::kChanged;
    }
  }

 private:
  std::vector<Worker> workers_;  // [num_workers]
};

}  // namespace steelyard
