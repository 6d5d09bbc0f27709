// A RoutingTable answers, for one layer, which slot a token of a logical expert goes to.
//
// Replicas share an expert's tokens without randomness: the i-th token of an expert on a rank in a
// step takes the i-th point of a low-discrepancy sequence, and the slot in whose share that point
// falls. Sequences are offset by (rank, step, expert), so that ranks do not all start at the same
// replica.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/placement/topology.h"

namespace steelyard {

/// Where a sequence starts; points are fractions of 2^32. Starts of successive ranks, and of
/// successive steps, are low-discrepancy sequences themselves, so that one token a rank is enough
/// to realise shares over all ranks.
uint32_t ReplicaOffset(int rank, uint64_t step, int expert);

class RoutingTable {
 public:
  RoutingTable() = default;

  /// Takes memory for `num_experts` and `num_slots`, so that no later Assign() of that size
  /// allocates.
  RoutingTable(int num_experts, int num_slots);

  /// Takes over the tables of one layer: `slot_to_expert` [num_slots]; `shares` [num_slots], or
  /// empty for an even split. Allocates nothing when the shape is the constructor's. Requires: a
  /// valid layer of a Placement.
  void Assign(int num_experts, std::span<const int32_t> slot_to_expert,
              std::span<const double> shares);

  int num_experts() const { return static_cast<int>(first_.size()) - 1; }

  /// Slots of an expert, ascending, at least one.
  std::span<const int32_t> slots(int expert) const {
    return {slots_.data() + first_[expert],
            static_cast<size_t>(first_[expert + 1] - first_[expert])};
  }
  /// The share of each of those slots; they sum to 1.
  std::span<const double> shares(int expert) const {
    return {shares_.data() + first_[expert],
            static_cast<size_t>(first_[expert + 1] - first_[expert])};
  }

  /// The slot for the `token_idx`-th token (from 0) of `expert` on this rank in this step.
  int32_t Pick(int expert, uint32_t token_idx, uint32_t offset) const;

 private:
  void SplitEvenly(int expert);
  void SplitByShares(int expert);

  std::vector<int32_t> first_;  // [num_experts + 1] into the arrays below
  std::vector<int32_t> slots_;  // [num_slots]
  std::vector<double> shares_;  // [num_slots]
  // Where the points of each slot end: the running sum of an expert's shares, times 2^32.
  std::vector<uint64_t> upto_;  // [num_slots]
};

}  // namespace steelyard
