#include "plan/flashlb_policy.h"

#include <algorithm>
#include <vector>

#include "plan/flashlb_layer.h"
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

class FlashlbPolicy final : public LayerwisePolicy {
 public:
  FlashlbPolicy() : LayerwisePolicy("flashlb") {}

 private:
  struct Worker {
    FlashlbLayer layer;
    std::vector<double> bins;  // [num_bins, num_experts]
  };

  enum class Outcome : uint8_t { kKept, kNoGain, kGain };

  void PrepareWorkers(const Placement& current, const LoadShape& window_shape,
                      int num_workers) override {
    const LayerShape shape = {.num_experts = current.num_experts(),
                              .num_ranks = current.topology().num_ranks(),
                              .slots_per_rank = current.topology().slots_per_rank(),
                              .num_bins = window_shape.num_bins};
    if (shape == shape_ && static_cast<int>(workers_.size()) >= num_workers) return;
    shape_ = shape;
    workers_.resize(std::max<size_t>(workers_.size(), num_workers));
    for (Worker& worker : workers_) {
      worker.layer.Prepare(shape);
      worker.bins.assign(static_cast<size_t>(shape.num_bins) * shape.num_experts, 0.0);
    }
  }

  Status Begin(const PlanInput& input, PolicyState& state) override {
    const size_t num_layers = input.current->num_layers();
    // The state of another model is none.
    if (state.values.size() != num_layers) state.values.assign(num_layers, 0.0);
    outcomes_.assign(num_layers, Outcome::kKept);
    return Status::Ok();
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& state,
                  std::span<int32_t> slot_to_expert) override {
    Worker& worker = workers_[worker_idx];
    const std::span<const int32_t> before = input.current->slot_to_expert(layer_idx);
    const Span2<double> bins(worker.bins, shape_.num_bins, shape_.num_experts);
    ReadLayerBins(input.history.back(), layer_idx, bins);
    worker.layer.SetLoads(bins);
    double& planned = state.values[layer_idx];
    const double balance = 1.0 / worker.layer.Imbalance(before);
    const Gate gate = Gate::For(shape_.num_ranks);
    if (planned > 0.0 && balance >= gate.of_planned * planned && balance >= gate.value) {
      std::copy(before.begin(), before.end(), slot_to_expert.begin());
      return;
    }
    planned = 1.0 / worker.layer.Plan(before, slot_to_expert);
    outcomes_[layer_idx] = planned > balance + kRounding ? Outcome::kGain : Outcome::kNoGain;
  }

  void Judge(std::span<LayerDecision> decisions) const override {
    for (size_t layer_idx = 0; layer_idx < decisions.size(); ++layer_idx) {
      LayerDecision& decision = decisions[layer_idx];
      decision.from_scratch = decision.verdict == LayerVerdict::kChanged;
      decision.wanted = outcomes_[layer_idx] == Outcome::kGain;
    }
  }

  LayerShape shape_;
  std::vector<Worker> workers_;    // [num_workers]
  std::vector<Outcome> outcomes_;  // [num_layers]
};

}  // namespace

std::unique_ptr<Policy> MakeFlashlbPolicy() { return std::make_unique<FlashlbPolicy>(); }

}  // namespace steelyard
