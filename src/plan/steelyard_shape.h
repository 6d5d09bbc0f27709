// The words in which the `steelyard` search speaks of one layer: its shape, what a rank holds, and
// a step from one placement to another.
#pragma once

#include <cstdint>

#include "steelyard/placement/topology.h"

namespace steelyard {

/// Stands in a slot of a row that the search neither fills nor counts: one beyond its rank's own,
/// or on a dead rank.
inline constexpr int32_t kClosedSlot = -2;

struct LayerShape {
  int num_experts = 0;
  int num_ranks = 0;
  int slots_per_rank = 0;  // of the rank with the most
  int num_bins = 1;
  /// Of ranks that differ; null where all are alike. Outlives what is prepared for the shape.
  const Topology* topology = nullptr;

  int num_slots() const { return num_ranks * slots_per_rank; }
  int num_live_slots() const {
    return topology != nullptr ? topology->num_live_slots() : num_slots();
  }
  int num_live_ranks() const {
    return topology != nullptr ? topology->num_live_ranks() : num_ranks;
  }
  int live_slots(int rank) const {
    return topology != nullptr ? topology->live_slots(rank) : slots_per_rank;
  }
  friend bool operator==(const LayerShape&, const LayerShape&) = default;
};

struct HeldExpert {
  double load;  // of this copy
  int32_t expert;
  int32_t copies;
};

/// One change: `rank_a` gives up `expert_a` for `expert_b`. In a swap `rank_b` does the opposite;
/// in a replacement (rank_b < 0) another copy of `expert_a` stays elsewhere; in a chain `rank_b`
/// takes `expert_a` over a redundant copy of `expert_c`.
struct Step {
  int32_t rank_a = -1;
  int32_t expert_a = -1;
  int32_t rank_b = -1;
  int32_t expert_b = -1;
  int32_t expert_c = -1;

  bool is_some() const { return rank_a >= 0; }
  bool is_replacement() const { return rank_b < 0; }
  bool is_chain() const { return expert_c >= 0; }
  /// What rank_b gives up.
  int32_t given_by_b() const { return is_chain() ? expert_c : expert_b; }
  /// What takes it back.
  Step Inverse() const;
};

}  // namespace steelyard
