// A Topology says how many ranks there are, how many slots each has, and which ranks share a node.
#pragma once

#include <string>

#include "steelyard/base/status.h"

namespace steelyard {

/// Slots are numbered rank by rank: rank r owns [r * slots_per_rank, (r + 1) * slots_per_rank).
/// Nodes own equal runs of ranks. A small value type.
class Topology {
 public:
  Topology() = default;

  /// Fails with kInvalidArgument unless all are positive, num_nodes divides num_ranks and
  /// num_slots() fits an int.
  static Result<Topology> Create(int num_ranks, int slots_per_rank, int num_nodes = 1);

  int num_ranks() const { return num_ranks_; }
  int slots_per_rank() const { return slots_per_rank_; }
  int num_nodes() const { return num_nodes_; }
  int num_slots() const { return num_ranks_ * slots_per_rank_; }
  int ranks_per_node() const { return num_ranks_ / num_nodes_; }
  int rank_of_slot(int slot) const { return slot / slots_per_rank_; }
  int node_of_rank(int rank) const { return rank / ranks_per_node(); }
  int first_slot_of_rank(int rank) const { return rank * slots_per_rank_; }

  /// For example "4 ranks x 9 slots on 1 node".
  std::string ToString() const;

  friend bool operator==(const Topology&, const Topology&) = default;

 private:
  Topology(int num_ranks, int slots_per_rank, int num_nodes)
      : num_ranks_(num_ranks), slots_per_rank_(slots_per_rank), num_nodes_(num_nodes) {}

  int num_ranks_ = 1;
  int slots_per_rank_ = 1;
  int num_nodes_ = 1;
};

}  // namespace steelyard
