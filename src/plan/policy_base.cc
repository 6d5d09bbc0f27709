#include "plan/policy_base.h"

#include <algorithm>
#include <utility>

namespace steelyard {

Status ReportingPolicy::Prepare(const Placement& current, const LoadShape& window_shape,
                                int /*num_windows*/, int num_workers) {
  builder_.Prepare(current, window_shape, num_workers);
  return Status::Ok();
}

Status LayerwisePolicy::Prepare(const Placement& current, const LoadShape& window_shape,
                                int num_windows, int num_workers) {
  STEELYARD_RETURN_IF_ERROR(
      ReportingPolicy::Prepare(current, window_shape, num_windows, num_workers));
  loads_.resize(std::max<size_t>(loads_.size(), num_workers));
  for (std::vector<double>& loads : loads_) {
    loads.resize(current.num_experts());
  }
  PrepareWorkers(current, window_shape, num_workers);
  return Status::Ok();
}

Result<Plan> LayerwisePolicy::MakePlan(const PlanInput& input, PolicyState& state,
                                       const PlanContext& context) {
  STEELYARD_RETURN_IF_ERROR(CheckPlainInput(name(), input));
  PolicyState next = state;
  STEELYARD_RETURN_IF_ERROR(Begin(input, next));
  const Placement& current = *input.current;
  STEELYARD_RETURN_IF_ERROR(Prepare(current, input.history.back().shape(),
                                    static_cast<int>(input.history.size()),
                                    context.executor->num_workers()));

  const auto num_slots = static_cast<size_t>(current.num_slots());
  std::vector<int32_t> slot_to_expert(current.num_layers() * num_slots);
  context.executor->Run(current.num_layers(), [&](int layer_idx, int worker_idx) {
    if (CheckNotCancelled(context).ok()) {
      PlaceLayer(input, layer_idx, worker_idx, next,
                 std::span(slot_to_expert).subspan(layer_idx * num_slots, num_slots));
    }
  });
  STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
  STEELYARD_ASSIGN_OR_RETURN(Placement placement,
                             Placement::Create(current.topology(), current.num_experts(),
                                               std::move(slot_to_expert), DuplicateRule::kAllow));
  std::vector<LayerDecision> decisions = DecisionsByComparison(current, placement);
  Judge(decisions);
  STEELYARD_ASSIGN_OR_RETURN(Plan plan,
                             builder_.Build(input, std::move(placement), decisions, next, context));
  state = std::move(next);
  return plan;
}

std::span<const double> LayerwisePolicy::SumOfLayer(const PlanInput& input, int layer_idx,
                                                    int worker_idx) {
  std::vector<double>& loads = loads_[worker_idx];
  std::fill(loads.begin(), loads.end(), 0.0);
  input.history.back().AddLayerTo(layer_idx, loads);
  return loads;
}

}  // namespace steelyard
