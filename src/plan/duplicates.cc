#include "plan/duplicates.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr int32_t kNobody = -1;

class LayerRepair {
 public:
  LayerRepair(const Topology& topology, int num_experts)
      : topology_(topology), copies_(num_experts), held_(num_experts) {}

  /// Returns how many slots were given another expert.
  int Repair(std::span<const double> expert_loads, std::span<int32_t> slot_to_expert) {
    const int num_cleared = ClearDuplicates(slot_to_expert);
    for (int rank = 0; rank < topology_.num_ranks() && num_cleared > 0; ++rank) {
      FillRank(expert_loads, RankSlots(rank, slot_to_expert));
    }
    return num_cleared;
  }

 private:
  std::span<int32_t> RankSlots(int rank, std::span<int32_t> slot_to_expert) const {
    return slot_to_expert.subspan(topology_.first_slot_of_rank(rank),
                                  static_cast<size_t>(topology_.slots_per_rank()));
  }

  int ClearDuplicates(std::span<int32_t> slot_to_expert) {
    int num_cleared = 0;
    std::fill(copies_.begin(), copies_.end(), 0);
    for (int rank = 0; rank < topology_.num_ranks(); ++rank) {
      std::fill(held_.begin(), held_.end(), false);
      for (int32_t& expert : RankSlots(rank, slot_to_expert)) {
        if (held_[expert]) {
          expert = kNobody;
          ++num_cleared;
        } else {
          held_[expert] = true;
          ++copies_[expert];
        }
      }
    }
    return num_cleared;
  }

  void FillRank(std::span<const double> expert_loads, std::span<int32_t> slots) {
    std::fill(held_.begin(), held_.end(), false);
    for (int32_t expert : slots) {
      if (expert != kNobody) {
        held_[expert] = true;
      }
    }
    for (int32_t& expert : slots) {
      if (expert == kNobody) {
        expert = HeaviestNotHeld(expert_loads);
        held_[expert] = true;
        ++copies_[expert];
      }
    }
  }

  int32_t HeaviestNotHeld(std::span<const double> expert_loads) const {
    int32_t heaviest = kNobody;
    double largest = 0.0;
    for (size_t expert = 0; expert < held_.size(); ++expert) {
      const double load = expert_loads[expert] / copies_[expert];
      if (!held_[expert] && (heaviest == kNobody || load > largest)) {
        heaviest = static_cast<int32_t>(expert);
        largest = load;
      }
    }
    return heaviest;
  }

  const Topology& topology_;
  std::vector<int32_t> copies_;  // [num_experts]
  std::vector<bool> held_;       // [num_experts] by the rank at hand
};

}  // namespace

Result<WithoutDuplicates> ReplaceDuplicates(const Placement& placement,
                                            std::span<const double> loads) {
  const Topology& topology = placement.topology();
  const auto num_experts = static_cast<size_t>(placement.num_experts());
  const auto num_slots = static_cast<size_t>(placement.num_slots());
  STEELYARD_CHECK_EQ(loads.size(), placement.num_layers() * num_experts);
  if (topology.slots_per_rank() > placement.num_experts()) {
    return InvalidArgument(fmt::format("{} slots on a rank are more than {} experts",
                                       topology.slots_per_rank(), num_experts));
  }
  std::vector<int32_t> slot_to_expert(placement.slot_to_expert().begin(),
                                      placement.slot_to_expert().end());
  LayerRepair layer(topology, placement.num_experts());
  int num_replaced = 0;
  for (int layer_idx = 0; layer_idx < placement.num_layers(); ++layer_idx) {
    num_replaced +=
        layer.Repair(loads.subspan(layer_idx * num_experts, num_experts),
                     std::span(slot_to_expert).subspan(layer_idx * num_slots, num_slots));
  }
  STEELYARD_ASSIGN_OR_RETURN(Placement repaired,
                             Placement::Create(topology, placement.num_experts(),
                                               std::move(slot_to_expert), DuplicateRule::kRefuse));
  return WithoutDuplicates{std::move(repaired), num_replaced};
}

}  // namespace steelyard
