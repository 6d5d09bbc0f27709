// Random placements without duplicates, for the tests of this layer and of those above it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "steelyard/placement/placement.h"

namespace steelyard {

/// Slots of one layer in which every expert has a slot and no rank holds one twice. Requires:
/// slots_per_rank <= num_experts <= slots.
inline std::vector<int32_t> RandomLayer(const Topology& topology, int num_experts,
                                        std::mt19937_64& random) {
  const int num_slots = topology.num_slots();
  std::vector<int32_t> experts(num_experts);
  std::iota(experts.begin(), experts.end(), 0);
  std::vector<int32_t> slots;
  // Whole rounds of a shuffled list never repeat within slots_per_rank <= num_experts neighbours,
  // except across two lists.
  while (static_cast<int>(slots.size()) < num_slots) {
    std::shuffle(experts.begin(), experts.end(), random);
    slots.insert(slots.end(), experts.begin(), experts.end());
  }
  slots.resize(num_slots);
  // A second copy on a rank trades places with a slot elsewhere that neither rank holds already.
  const int per_rank = topology.slots_per_rank();
  const auto holds = [&](int rank, int32_t expert, int except) {
    for (int slot = rank * per_rank; slot < (rank + 1) * per_rank; ++slot) {
      if (slot != except && slots[slot] == expert) return true;
    }
    return false;
  };
  for (int slot = 0; slot < num_slots; ++slot) {
    for (int other = 0; holds(slot / per_rank, slots[slot], slot) && other < num_slots; ++other) {
      if (other / per_rank != slot / per_rank && !holds(other / per_rank, slots[slot], other) &&
          !holds(slot / per_rank, slots[other], slot)) {
        std::swap(slots[slot], slots[other]);
      }
    }
  }
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    std::shuffle(slots.begin() + rank * per_rank, slots.begin() + (rank + 1) * per_rank, random);
  }
  return slots;
}

inline Placement RandomPlacement(const Topology& topology, int num_layers, int num_experts,
                                 std::mt19937_64& random) {
  std::vector<int32_t> slots;
  for (int layer = 0; layer < num_layers; ++layer) {
    const std::vector<int32_t> one = RandomLayer(topology, num_experts, random);
    slots.insert(slots.end(), one.begin(), one.end());
  }
  return Placement::Create(topology, num_experts, std::move(slots), DuplicateRule::kRefuse).value();
}

/// A shape that a placement without duplicates exists for, and at most 8 ranks.
struct RandomShape {
  explicit RandomShape(std::mt19937_64& random) {
    const int num_ranks = static_cast<int>(1 + random() % 8);
    num_experts = static_cast<int>(1 + random() % 24);
    const int least = (num_experts + num_ranks - 1) / num_ranks;
    const int slots = least + static_cast<int>(random() % (num_experts - least + 1));
    const int num_nodes = num_ranks % 2 == 0 && random() % 2 == 0 ? 2 : 1;
    topology = Topology::Create(num_ranks, slots, num_nodes).value();
    num_layers = static_cast<int>(1 + random() % 3);
  }

  Topology topology;
  int num_experts = 1;
  int num_layers = 1;
};

}  // namespace steelyard
