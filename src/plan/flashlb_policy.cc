#include "plan/flashlb_policy.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "plan/flashlb_layer.h"
#include "plan/plan_builder.h"
#include "plan/policy_base.h"

namespace steelyard {
namespace {

/// A layer is planned anew when its balance (average / peak) is below this share of what was last
/// planned, or below this value.
struct Gate {
  double of_planned;
  double value;

  static Gate For(int num_ranks) { return num_ranks < 32 ? Gate{0.95, 0.9} : Gate{0.9, 0.85}; }
};

// A gain of balance below this is rounding.
constexpr double kRounding = 1e-12;

class FlashlbPolicy final : public ReportingPolicy {
 public:
  std::string_view name() const override { return "flashlb"; }

  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) override {
    STEELYARD_RETURN_IF_ERROR(
        ReportingPolicy::Prepare(current, window_shape, num_windows, num_workers));
    const Topology& topology = current.topology();
    const LayerShape shape = {.num_experts = current.num_experts(),
                              .num_ranks = topology.num_ranks(),
                              .slots_per_rank = topology.slots_per_rank(),
                              .num_bins = window_shape.num_bins};
    if (!(shape == shape_) || static_cast<int>(workers_.size()) < num_workers) {
      shape_ = shape;
      workers_.resize(std::max<size_t>(workers_.size(), num_workers));
      for (Worker& worker : workers_) {
        worker.layer.Prepare(shape);
        worker.bins.assign(static_cast<size_t>(shape.num_bins) * shape.num_experts, 0.0);
      }
    }
    return Status::Ok();
  }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlainInput(name(), input));
    const Placement& current = *input.current;
    STEELYARD_RETURN_IF_ERROR(Prepare(current, input.history.back().shape(),
                                      static_cast<int>(input.history.size()),
                                      context.executor->num_workers()));
    const size_t num_layers = current.num_layers();
    const size_t num_slots = current.num_slots();
    std::vector<int32_t> slot_to_expert(num_layers * num_slots);
    std::vector<Outcome> outcomes(num_layers);
    // The state of another model is none.
    PolicyState next = state;
    if (next.values.size() != num_layers) next.values.assign(num_layers, 0.0);
    context.executor->Run(current.num_layers(), [&](int layer_idx, int worker_idx) {
      if (!CheckNotCancelled(context).ok()) return;
      outcomes[layer_idx] =
          PlanLayer(input, layer_idx, workers_[worker_idx], next.values[layer_idx],
                    std::span(slot_to_expert).subspan(layer_idx * num_slots, num_slots));
    });
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    STEELYARD_ASSIGN_OR_RETURN(Placement placement,
                               Placement::Create(current.topology(), current.num_experts(),
                                                 std::move(slot_to_expert), DuplicateRule::kAllow));
    std::vector<LayerDecision> decisions = DecisionsByComparison(current, placement);
    for (size_t layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
      decisions[layer_idx].from_scratch = decisions[layer_idx].verdict == LayerVerdict::kChanged;
      decisions[layer_idx].wanted = outcomes[layer_idx] == Outcome::kGain;
    }
    STEELYARD_ASSIGN_OR_RETURN(
        Plan plan, builder_.Build(input, std::move(placement), decisions, next, context));
    state = std::move(next);
    return plan;
  }

 private:
  struct Worker {
    FlashlbLayer layer;
    std::vector<double> bins;  // [num_bins, num_experts]
  };

  enum class Outcome : uint8_t { kKept, kNoGain, kGain };

  /// `planned` is the layer's state.
  Outcome PlanLayer(const PlanInput& input, int layer_idx, Worker& worker, double& planned,
                    std::span<int32_t> slot_to_expert) const {
    const std::span<const int32_t> before = input.current->slot_to_expert(layer_idx);
    const Span2<double> bins(worker.bins, shape_.num_bins, shape_.num_experts);
    ReadLayerBins(input.history.back(), layer_idx, bins);
    worker.layer.SetLoads(bins);
    const double balance = 1.0 / worker.layer.Imbalance(before);
    const Gate gate = Gate::For(shape_.num_ranks);
    if (planned > 0.0 && balance >= gate.of_planned * planned && balance >= gate.value) {
      std::copy(before.begin(), before.end(), slot_to_expert.begin());
      return Outcome::kKept;
    }
    planned = 1.0 / worker.layer.Plan(before, slot_to_expert);
    return planned > balance + kRounding ? Outcome::kGain : Outcome::kNoGain;
  }

  LayerShape shape_;
  std::vector<Worker> workers_;
};

}  // namespace

std::unique_ptr<Policy> MakeFlashlbPolicy() { return std::make_unique<FlashlbPolicy>(); }

}  // namespace steelyard
