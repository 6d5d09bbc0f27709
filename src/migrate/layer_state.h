// One layer's tables on one rank, twice: the ones in force, and the ones that are built beside them
// for the next flip.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/migrate/layer_tables.h"
#include "steelyard/placement/topology.h"

namespace steelyard {

class LayerState {
 public:
  /// Takes over the initial tables; `first_buffer` is the buffer of this rank's first slot, the
  /// others follow.
  LayerState(const Placement& initial, int layer, int rank, int first_buffer);

  LayerTables in_force() const;
  std::span<const double> shares() const { return sides_[current_].shares; }

  /// Builds the next tables beside those in force; allocates nothing. `slot_to_expert` [num_slots],
  /// `shares` likewise or empty.
  void Stage(std::span<const int32_t> slot_to_expert, std::span<const double> shares);

  /// The buffer that this rank's `expert` will be read from after the flip. Requires: Stage(); the
  /// rank holds it then.
  void SetStagedBuffer(int32_t expert, int32_t buffer);

  /// Gives every expert that stays on this rank the buffer it is in. Calls freed(buffer) for each
  /// buffer whose expert leaves.
  template <typename Freed>
  void KeepBuffers(const Freed& freed) {
    const Side& now = sides_[current_];
    Side& next = sides_[1 - current_];
    for (int slot = 0; slot < slots_per_rank_; ++slot) {
      const int staged = FindOwn(next, OwnExpert(now, slot));
      if (staged < 0) {
        freed(now.slot_to_buffer[slot]);
      } else {
        next.slot_to_buffer[staged] = now.slot_to_buffer[slot];
      }
    }
  }

  /// Makes the staged tables the ones in force.
  void Flip();

 private:
  struct Side {
    RoutingTable routing;
    std::vector<int32_t> slot_to_expert;  // [num_slots]
    std::vector<double> shares;           // [num_slots] or empty
    std::vector<int32_t> slot_to_buffer;  // [slots_per_rank]
  };

  int32_t OwnExpert(const Side& side, int slot) const {
    return side.slot_to_expert[first_slot_ + slot];
  }
  int FindOwn(const Side& side, int32_t expert) const;

  int num_experts_;
  int slots_per_rank_;
  int first_slot_;
  std::array<Side, 2> sides_;
  int current_ = 0;
  int64_t version_ = 0;
};

}  // namespace steelyard
