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
  void PrepareWorkers(const Placement& current, int num_workers) override {
    EplbPolicy::PrepareWorkers(current, num_workers);
    planned_.resize(std::max<size_t>(planned_.size(), num_workers));
    for (std::vector<int32_t>& planned : planned_) {
      planned.resize(current.num_slots());
    }
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx,
                  std::span<const double> loads, std::span<int32_t> slot_to_expert) override {
    const std::span<int32_t> planned = planned_[worker_idx];
    EplbPolicy::PlaceLayer(input, layer_idx, worker_idx, loads, planned);
    const Topology& topology = input.current->topology();
    const std::span<const int32_t> before = input.current->slot_to_expert(layer_idx);
    const size_t slots_per_rank = topology.slots_per_rank();
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const size_t first = topology.first_slot_of_rank(rank);
      KeepSlots(before.subspan(first, slots_per_rank), planned.subspan(first, slots_per_rank),
                slot_to_expert.subspan(first, slots_per_rank));
    }
  }

  std::vector<std::vector<int32_t>> planned_;  // [num_workers][num_slots]
};

}  // namespace

std::unique_ptr<Policy> MakeVllmPolicy() { return std::make_unique<VllmPolicy>(); }

}  // namespace steelyard
