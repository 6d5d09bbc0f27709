// Which rank gets which part of a placement made from nothing: the one that holds most of it
// already.
//
// A pure function of its arguments; the object is workspace, one per worker.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_ledger.h"

namespace steelyard {

/// Renames the ranks of a new placement so that they keep much of what they hold: as much as
/// possible up to 64 ranks; beyond that pair by pair, the largest overlap first, since the best
/// assignment costs the cube of the number of ranks.
class RankLabeller {
 public:
  void Prepare(const LayerShape& shape);

  /// Permutes the ranks of `slot_to_expert` [num_slots] against what is in force. Only ranks of as
  /// many slots and the same speed are exchanged.
  void Label(const RowInForce& in_force, std::span<int32_t> slot_to_expert);

 private:
  struct Overlap {
    int32_t size;
    int32_t new_rank;
    int32_t old_rank;
  };

  bool AreAlike(int rank_a, int rank_b) const;
  void CollectHolders(const RowInForce& in_force);
  void CollectOverlaps(std::span<const int32_t> slot_to_expert);
  void AssignGreedily();
  void AssignBest();
  int ReachFreeColumn(int row);

  LayerShape shape_;
  std::vector<int32_t> first_holder_;  // [num_experts + 1] into holders_
  std::vector<int32_t> holders_;       // old ranks of each expert
  std::vector<int32_t> shared_;    // [num_ranks] experts that one new rank shares with each old one
  std::vector<Overlap> overlaps_;  // of the pairs that share any
  std::vector<int32_t> old_rank_of_;  // [num_ranks] the result, by new rank
  std::vector<int32_t> new_rank_of_;  // [num_ranks] its inverse
  std::vector<int32_t> renamed_;      // [num_slots]

  // The best assignment (successive shortest paths): new ranks are rows, old ranks columns, one
  // more column is the root.
  std::vector<int32_t> gain_;          // [num_ranks, num_ranks] overlap of each pair
  std::vector<int32_t> row_price_;     // [num_ranks]
  std::vector<int32_t> column_price_;  // [num_ranks + 1]
  std::vector<int32_t> row_of_;        // [num_ranks + 1] by column, -1 where free
  std::vector<int32_t> distance_;      // [num_ranks + 1] from the root
  std::vector<int32_t> came_from_;     // [num_ranks + 1] column before on the path
  std::vector<int32_t> open_;          // columns that are not reached yet, ascending
  std::vector<int32_t> reached_;       // those that are, the root first
};

}  // namespace steelyard
