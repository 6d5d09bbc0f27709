// A Topology says how many ranks there are, how many slots each has, which ranks share a node,
// which are dead and how fast each is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steelyard/base/status.h"

namespace steelyard {

struct TopologySpec {
  int num_ranks = 1;
  int slots_per_rank = 1;  // of the rank with the most
  int num_nodes = 1;
  std::vector<int32_t> slots_of_rank = {};  // [num_ranks], or empty: slots_per_rank each
  std::vector<int32_t> dead_ranks = {};     // in any order; their slots stay empty
  std::vector<double> rank_speed = {};      // [num_ranks] work per time, or empty: all alike
};

/// Slots are numbered rank by rank: rank r owns [r * slots_per_rank, (r + 1) * slots_per_rank). Of
/// these the first live_slots(r) can hold an expert; the others, on a rank that has fewer slots or
/// is dead, never do. Nodes own equal runs of ranks. A value type.
class Topology {
 public:
  Topology() = default;

  /// Ranks of equal slots and speed, all alive. Fails as below.
  static Result<Topology> Create(int num_ranks, int slots_per_rank, int num_nodes = 1);

  /// Fails with kInvalidArgument, naming the field, unless counts are positive, num_nodes divides
  /// num_ranks, num_slots() fits an int, the lists have num_ranks entries or none, slots_of_rank is
  /// in [1, slots_per_rank] and reaches it, speeds are in [1e-6, 1e6], dead ranks exist and
  /// are named once, and a rank is alive.
  static Result<Topology> Create(const TopologySpec& spec);

  int num_ranks() const { return num_ranks_; }
  int slots_per_rank() const { return slots_per_rank_; }
  int num_nodes() const { return num_nodes_; }
  /// Entries of a row of a placement, empty ones included.
  int num_slots() const { return num_ranks_ * slots_per_rank_; }
  int ranks_per_node() const { return num_ranks_ / num_nodes_; }
  int rank_of_slot(int slot) const { return slot / slots_per_rank_; }
  int node_of_rank(int rank) const { return rank / ranks_per_node(); }
  int first_slot_of_rank(int rank) const { return rank * slots_per_rank_; }

  /// All ranks are alive, with equal slots and equal speed.
  bool is_plain() const { return live_slots_.empty() && rank_speed_.empty(); }

  /// Slots of a rank that can hold an expert; 0 on a dead rank.
  int live_slots(int rank) const {
    return live_slots_.empty() ? slots_per_rank_ : live_slots_[rank];
  }
  bool is_live_slot(int slot) const {
    return live_slots_.empty() || slot % slots_per_rank_ < live_slots_[rank_of_slot(slot)];
  }
  int num_live_slots() const;
  bool is_dead(int rank) const { return live_slots(rank) == 0; }
  int num_live_ranks() const;

  /// Work per time of a rank, 1 where all are alike; 0 on a dead rank.
  double speed(int rank) const {
    return is_dead(rank) ? 0.0 : rank_speed_.empty() ? 1.0 : rank_speed_[rank];
  }
  /// Sum over live ranks: a load of this much, spread by speed, takes every rank one unit of time.
  double total_speed() const;

  /// What it was made from: lists are empty where all ranks are alike, dead ranks ascend.
  TopologySpec spec() const;

  /// For example "4 ranks x 9 slots on 1 node", "4 ranks x 9 slots on 1 node (2 dead, 7 to 9
  /// slots)".
  std::string ToString() const;

  friend bool operator==(const Topology&, const Topology&) = default;

 private:
  int num_ranks_ = 1;
  int slots_per_rank_ = 1;
  int num_nodes_ = 1;
  std::vector<int32_t> slots_of_rank_ = {};  // [num_ranks] own number, or empty
  std::vector<int32_t> live_slots_ = {};     // [num_ranks] own number, 0 when dead, or empty
  std::vector<double> rank_speed_ = {};      // [num_ranks] or empty
};

}  // namespace steelyard
