#include "plan/swift_policy.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "plan/policy_base.h"
#include "plan/swift_layer.h"

namespace steelyard {
namespace {

constexpr double kWorthChange = 0.95;  // of the largest rank loads, summed over layers

class SwiftPolicy final : public LayerwisePolicy {
 public:
  SwiftPolicy() : LayerwisePolicy("swift") {}

 private:
  void PrepareWorkers(const Placement& /*current*/, const LoadShape& /*window_shape*/,
                      int num_workers) override {
    layers_.resize(std::max<size_t>(layers_.size(), num_workers));
  }

  Status Begin(const PlanInput& input, PolicyState& /*state*/) override {
    std::vector<double> first(input.current->num_experts());
    input.history.back().AddLayerTo(0, first);
    mean_load_ = std::accumulate(first.begin(), first.end(), 0.0) / input.topology().num_ranks();
    max_loads_.assign(input.current->num_layers(), {});
    return Status::Ok();
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& /*state*/,
                  std::span<int32_t> slot_to_expert) override {
    max_loads_[layer_idx] = layers_[worker_idx].Place(
        SumOfLayer(input, layer_idx, worker_idx), mean_load_,
        input.current->slot_to_expert(layer_idx), input.topology(), slot_to_expert);
  }

  void Judge(std::span<LayerDecision> decisions) const override {
    double before = 0.0;
    double after = 0.0;
    for (const SwiftLoads& loads : max_loads_) {
      before += loads.before;
      after += loads.after;
    }
    for (LayerDecision& decision : decisions) {
      decision.wanted = after < kWorthChange * before;
    }
  }

  std::vector<SwiftLayer> layers_;     // [num_workers]
  std::vector<SwiftLoads> max_loads_;  // [num_layers]
  double mean_load_ = 0.0;             // of a rank, in the first layer
};

}  // namespace

std::unique_ptr<Policy> MakeSwiftPolicy() { return std::make_unique<SwiftPolicy>(); }

}  // namespace steelyard
