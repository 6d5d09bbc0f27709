// A placement of one layer from nothing: which rank takes which copy.
//
// Pure functions of their arguments; the objects are workspace, one per worker. After Prepare()
// nothing allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// Deals out the copies of all experts, heaviest first, each to the coolest rank that has a free
/// slot and lacks the expert; where ranks differ, to the one that is coolest with it. Where no rank
/// is left for a copy, a rank with room takes an expert of another, which takes the copy; where
/// slots differ and that cannot be, the slot takes the expert with the heaviest copies that its
/// rank lacks.
class ScratchPlacer {
 public:
  void Prepare(const LayerShape& shape);

  /// Writes `slot_to_expert` [num_slots], a rank's heaviest expert first, kClosedSlot in slots that
  /// are not live. `expert_loads` is [num_experts]; `copies` at least 1, at most one a live rank,
  /// together one a live slot. Requires: num_experts <= live slots, slots_per_rank <= num_experts.
  void Place(std::span<const double> expert_loads, std::span<const int32_t> copies,
             std::span<int32_t> slot_to_expert);

 private:
  struct OpenRank {
    double load;
    int32_t rank;
  };

  void DealOut(int expert);
  void DealOutBySpeed(int expert);
  bool PlaceByExchange(int expert);
  void FillHoles();
  bool HasRoom(int rank) const { return used_[rank] < shape_.live_slots(rank); }
  void Put(int rank, int expert);
  bool Holds(int rank, int expert) const;

  LayerShape shape_;
  std::span<int32_t> slots_;         // [num_slots] what is being written
  std::span<const int32_t> copies_;  // [num_experts]
  bool has_holes_ = false;
  std::vector<double> copy_load_;  // [num_experts]
  std::vector<int32_t> by_load_;   // [num_experts] heaviest copy first
  std::vector<int32_t> used_;      // [num_ranks] slots taken
  std::vector<double> rank_load_;  // [num_ranks]
  std::vector<OpenRank> open_;     // heap of ranks with a free slot, the coolest on top
  std::vector<OpenRank> taken_;    // those that have just taken a copy of the expert at hand
};

}  // namespace steelyard
