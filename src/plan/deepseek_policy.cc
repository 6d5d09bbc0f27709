#include "plan/deepseek_policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "plan/deepseek_layer.h"
#include "plan/plan_builder.h"

namespace steelyard {
namespace {

/// The reference's own condition; where it plans globally, groups are not looked at.
Status CheckGroups(int num_groups, const Placement& current) {
  const int num_nodes = current.topology().num_nodes();
  if (num_groups % num_nodes == 0 && current.num_experts() % num_groups != 0) {
    return InvalidArgument(
        fmt::format("{} groups do not divide {} experts", num_groups, current.num_experts()));
  }
  return Status::Ok();
}

class DeepseekPolicy final : public Policy {
 public:
  std::string_view name() const override { return "deepseek"; }

  Status Prepare(const Placement& current, const LoadShape& window_shape, int /*num_windows*/,
                 int num_workers) override {
    builder_.Prepare(current, window_shape, num_workers);
    workers_.resize(std::max<size_t>(workers_.size(), num_workers));
    for (Worker& worker : workers_) {
      worker.sum.resize(current.num_experts());
      worker.weight.resize(current.num_experts());
      worker.slot_to_copy.resize(current.num_slots());
    }
    return Status::Ok();
  }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlainInput(name(), input));
    const Placement& current = *input.current;
    STEELYARD_RETURN_IF_ERROR(CheckGroups(input.options.num_groups, current));
    STEELYARD_RETURN_IF_ERROR(Prepare(current, input.history.back().shape(),
                                      static_cast<int>(input.history.size()),
                                      context.executor->num_workers()));

    const auto num_slots = static_cast<size_t>(current.num_slots());
    std::vector<int32_t> slot_to_expert(current.num_layers() * num_slots);
    context.executor->Run(current.num_layers(), [&](int layer_idx, int worker_idx) {
      if (CheckNotCancelled(context).ok()) {
        PlaceLayer(input, layer_idx, workers_[worker_idx],
                   std::span(slot_to_expert).subspan(layer_idx * num_slots, num_slots));
      }
    });
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    STEELYARD_ASSIGN_OR_RETURN(Placement placement,
                               Placement::Create(current.topology(), current.num_experts(),
                                                 std::move(slot_to_expert), DuplicateRule::kAllow));
    std::vector<LayerDecision> decisions = DecisionsByComparison(current, placement);
    for (LayerDecision& decision : decisions) {
      decision.from_scratch = decision.verdict == LayerVerdict::kChanged;
    }
    return builder_.Build(input, std::move(placement), decisions, state, context);
  }

 private:
  struct Worker {
    std::vector<double> sum;            // [num_experts]
    std::vector<float> weight;          // [num_experts]
    std::vector<int32_t> slot_to_copy;  // [num_slots]
    DeepseekLayer layer;
  };

  static void PlaceLayer(const PlanInput& input, int layer_idx, Worker& worker,
                         std::span<int32_t> slot_to_expert) {
    std::fill(worker.sum.begin(), worker.sum.end(), 0.0);
    input.history.back().AddLayerTo(layer_idx, worker.sum);
    std::transform(worker.sum.begin(), worker.sum.end(), worker.weight.begin(),
                   [](double tokens) { return static_cast<float>(tokens); });
    worker.layer.Place(worker.weight, input.options.num_groups, input.current->topology(),
                       slot_to_expert, worker.slot_to_copy);
  }

  std::vector<Worker> workers_;  // [num_workers]
  PlanBuilder builder_;
};

}  // namespace

std::unique_ptr<Policy> MakeDeepseekPolicy() { return std::make_unique<DeepseekPolicy>(); }

}  // namespace steelyard
