#include "migrate/layer_state.h"

#include <algorithm>

#include "steelyard/base/check.h"

namespace steelyard {

LayerState::LayerState(const Placement& initial, int layer, int rank, int first_buffer)
    : num_experts_(initial.num_experts()),
      slots_per_rank_(initial.topology().slots_per_rank()),
      first_slot_(initial.topology().first_slot_of_rank(rank)) {
  for (Side& side : sides_) {
    side.routing = RoutingTable(num_experts_, initial.num_slots());
    side.slot_to_expert.reserve(initial.num_slots());
    side.shares.reserve(initial.num_slots());
    side.slot_to_buffer.assign(slots_per_rank_, -1);
  }
  Stage(initial.slot_to_expert(layer), initial.shares(layer));
  for (int slot = 0; slot < slots_per_rank_; ++slot) {
    sides_[1 - current_].slot_to_buffer[slot] = first_buffer + slot;
  }
  current_ = 1 - current_;
}

LayerTables LayerState::in_force() const {
  const Side& side = sides_[current_];
  return {&side.routing, side.slot_to_expert, side.slot_to_buffer, version_};
}

void LayerState::Stage(std::span<const int32_t> slot_to_expert, std::span<const double> shares) {
  Side& next = sides_[1 - current_];
  next.slot_to_expert.assign(slot_to_expert.begin(), slot_to_expert.end());
  next.shares.assign(shares.begin(), shares.end());
  next.routing.Assign(num_experts_, slot_to_expert, shares);
  std::fill(next.slot_to_buffer.begin(), next.slot_to_buffer.end(), -1);
}

void LayerState::SetStagedBuffer(int32_t expert, int32_t buffer) {
  Side& next = sides_[1 - current_];
  const int slot = FindOwn(next, expert);
  STEELYARD_CHECK_GE(slot, 0);
  next.slot_to_buffer[slot] = buffer;
}

void LayerState::Flip() {
  for (const int32_t buffer : sides_[1 - current_].slot_to_buffer) {
    STEELYARD_CHECK_GE(buffer, 0);
  }
  current_ = 1 - current_;
  ++version_;
}

int LayerState::FindOwn(const Side& side, int32_t expert) const {
  for (int slot = 0; slot < slots_per_rank_; ++slot) {
    if (OwnExpert(side, slot) == expert) {
      return slot;
    }
  }
  return -1;
}

}  // namespace steelyard
