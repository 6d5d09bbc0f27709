// Loads and placements for the tests of the `steelyard` policy. Only tests include this.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_ledger.h"

namespace steelyard {

inline int Draw(std::mt19937_64& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<uint64_t>(high - low + 1));
}

/// Popularity as models show it: log-normal. `sigma` 0 makes all alike.
inline std::vector<double> LogNormalLoads(std::mt19937_64& random, size_t count, double sigma) {
  std::normal_distribution<double> normal;
  std::vector<double> loads(count);
  for (double& load : loads) load = 1000.0 * std::exp(sigma * normal(random));
  return loads;
}

inline RowInForce RowOf(const LayerShape& shape, const std::vector<int32_t>& slots) {
  return {.slot_to_expert = slots,
          .num_ranks = shape.num_ranks,
          .slots_per_rank = shape.slots_per_rank};
}

/// Slot p holds expert p mod num_experts.
inline std::vector<int32_t> ContiguousSlots(const LayerShape& shape) {
  std::vector<int32_t> slots(shape.num_slots());
  for (int slot = 0; slot < shape.num_slots(); ++slot) slots[slot] = slot % shape.num_experts;
  return slots;
}

inline bool RankHolds(const LayerShape& shape, const std::vector<int32_t>& slots, int rank,
                      int expert) {
  const auto begin = slots.begin() + rank * shape.slots_per_rank;
  return std::find(begin, begin + shape.slots_per_rank, expert) != begin + shape.slots_per_rank;
}

/// A placement without duplicates: random exchanges of slots, and copies given to other experts.
inline std::vector<int32_t> RandomSlots(std::mt19937_64& random, const LayerShape& shape) {
  std::vector<int32_t> slots = ContiguousSlots(shape);
  for (int i = 0; i < 10 * shape.num_slots(); ++i) {
    const int p = Draw(random, 0, shape.num_slots() - 1);
    const int q = Draw(random, 0, shape.num_slots() - 1);
    const int rank_p = p / shape.slots_per_rank;
    const int rank_q = q / shape.slots_per_rank;
    if (rank_p == rank_q || RankHolds(shape, slots, rank_p, slots[q])) continue;
    if (!RankHolds(shape, slots, rank_q, slots[p])) {
      std::swap(slots[p], slots[q]);
    } else if (std::count(slots.begin(), slots.end(), slots[p]) > 1) {
      slots[p] = slots[q];
    }
  }
  return slots;
}

/// 2-6 ranks, up to 24 experts; one rank in twenty.
inline LayerShape RandomShape(std::mt19937_64& random, int num_bins) {
  const int num_ranks = Draw(random, 1, 20) == 1 ? 1 : Draw(random, 2, 6);
  const int num_experts = Draw(random, 2, 24);
  const int fewest = (num_experts + num_ranks - 1) / num_ranks;
  return {.num_experts = num_experts,
          .num_ranks = num_ranks,
          .slots_per_rank = std::min(num_experts, fewest + Draw(random, 0, 2)),
          .num_bins = num_bins};
}

}  // namespace steelyard
