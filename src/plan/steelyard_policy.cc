#include "plan/steelyard_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "plan/plan_builder.h"
#include "plan/steelyard_layer.h"

namespace steelyard {
namespace {

// Bins older than these are summed into the oldest: at the default recency they weigh a twentieth
// of the whole.
constexpr int kMaxBins = 8;

int NumBins(const LoadShape& window_shape, int num_windows) {
  return static_cast<int>(
      std::min<int64_t>(kMaxBins, int64_t{window_shape.num_bins} * num_windows));
}

/// The loads of one layer over the history, newest bin last: each bin times its weight, phases
/// summed.
void ReadWeightedBins(std::span<const LoadWindow> history, int layer_idx, double recency,
                      Span2<double> bins) {
  std::fill(bins.flat().begin(), bins.flat().end(), 0.0);
  double weight = 1.0;
  size_t row = bins.num_rows();
  for (auto window = history.rbegin(); window != history.rend(); ++window) {
    for (int bin_idx = window->shape().num_bins - 1; bin_idx >= 0; --bin_idx) {
      if (row > 0) --row;
      const std::span<double> sum = bins.row(row);
      for (int phase = 0; phase < window->shape().num_phases; ++phase) {
        const std::span<const double> loads = window->experts(bin_idx, phase, layer_idx);
        for (size_t e = 0; e < sum.size(); ++e) {
          sum[e] += weight * loads[e];
        }
      }
      weight *= recency;
    }
  }
}

class SteelyardPolicy : public Policy {
 public:
  std::string_view name() const override { return "steelyard"; }

  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) override {
    const Topology& topology = current.topology();
    if (topology.slots_per_rank() > current.num_experts()) {
      return InvalidArgument(fmt::format("{} slots on a rank are more than {} experts",
                                         topology.slots_per_rank(), current.num_experts()));
    }
    const LayerShape shape = {.num_experts = current.num_experts(),
                              .num_ranks = topology.num_ranks(),
                              .slots_per_rank = topology.slots_per_rank(),
                              .num_bins = NumBins(window_shape, num_windows)};
    if (!(shape == shape_) || static_cast<int>(workers_.size()) < num_workers) {
      shape_ = shape;
      workers_.resize(std::max<size_t>(workers_.size(), num_workers));
      for (Worker& worker : workers_) {
        worker.planner.Prepare(shape);
        worker.bins.assign(static_cast<size_t>(shape.num_bins) * shape.num_experts, 0.0);
      }
    }
    decisions_.assign(current.num_layers(), {});
    builder_.Prepare(current, window_shape, num_workers);
    return Status::Ok();
  }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlanInput(input));
    const Placement& current = *input.current;
    STEELYARD_RETURN_IF_ERROR(Prepare(current, input.history.back().shape(),
                                      static_cast<int>(input.history.size()),
                                      context.executor->num_workers()));
    std::vector<int32_t> slot_to_expert(current.slot_to_expert().size());
    context.executor->Run(current.num_layers(), [&](int layer_idx, int worker_idx) {
      if (!CheckNotCancelled(context).ok()) return;
      Worker& worker = workers_[worker_idx];
      const Span2<double> bins(worker.bins, shape_.num_bins, shape_.num_experts);
      ReadWeightedBins(input.history, layer_idx, input.options.recency, bins);
      const size_t num_slots = current.num_slots();
      decisions_[layer_idx] = worker.planner.Plan(
          {.bins = bins,
           .current = current.slot_to_expert(layer_idx),
           .price = input.options.price,
           .gate = input.options.gate},
          std::span<int32_t>(slot_to_expert).subspan(layer_idx * num_slots, num_slots));
    });
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    STEELYARD_ASSIGN_OR_RETURN(
        Placement placement, Placement::Create(current.topology(), current.num_experts(),
                                               std::move(slot_to_expert), DuplicateRule::kRefuse));
    return builder_.Build(input, std::move(placement), decisions_, state, context);
  }

 private:
  struct Worker {
    LayerPlanner planner;
    std::vector<double> bins;  // [num_bins, num_experts]
  };

  LayerShape shape_;
  std::vector<Worker> workers_;
  std::vector<LayerDecision> decisions_;  // [num_layers]
  PlanBuilder builder_;
};

}  // namespace

std::unique_ptr<Policy> MakeSteelyardPolicy() { return std::make_unique<SteelyardPolicy>(); }

}  // namespace steelyard
