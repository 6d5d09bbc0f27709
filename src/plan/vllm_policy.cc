#include "plan/vllm_policy.h"

#include <algorithm>
#include <vector>

#include "plan/eplb_policy.h"
#include "plan/keep_slots.h"

namespace steelyard {
namespace {

class VllmPolicy final : public EplbPolicy<VllmArithmetic> {
 public:
  VllmPolicy() : EplbPolicy("vllm") {}

 private:
  void PrepareWorkers(const Placement& current, const LoadShape& window_shape,
                      int num_workers) override {
    EplbPolicy::PrepareWorkers(current, window_shape, num_workers);
    planned_.resize(std::max<size_t>(planned_.size(), num_workers));
    for (std::vector<int32_t>& planned : planned_) {
      planned.resize(current.num_slots());
    }
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& state,
                  std::span<int32_t> slot_to_expert) override {
    const std::span<int32_t> planned = planned_[worker_idx];
    EplbPolicy::PlaceLayer(input, layer_idx, worker_idx, state, planned);
    KeepSlots(input.current->topology().slots_per_rank(), input.current->slot_to_expert(layer_idx),
              planned, slot_to_expert);
  }

  std::vector<std::vector<int32_t>> planned_;  // [num_workers][num_slots]
};

}  // namespace

std::unique_ptr<Policy> MakeVllmPolicy() { return std::make_unique<VllmPolicy>(); }

}  // namespace steelyard
