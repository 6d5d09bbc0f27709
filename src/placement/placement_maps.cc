// What placements are asked for: moves between two of them, and the inverse maps of one.
#include <utility>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

// Adds up the moves of one layer. `held_by` [num_experts] holds, between calls, only values that no
// later (layer, rank) uses as its mark, so that it need not be cleared; `mark` is the next free
// one.
int CountMovesOfLayer(const Placement& from, const Placement& to, int layer_idx,
                      std::vector<int64_t>& held_by, int64_t& mark) {
  const Topology& topology = from.topology();
  const std::span<const int32_t> old_experts = from.slot_to_expert(layer_idx);
  const std::span<const int32_t> new_experts = to.slot_to_expert(layer_idx);
  int num_moves = 0;
  for (int rank = 0; rank < topology.num_ranks(); ++rank, ++mark) {
    const int first = topology.first_slot_of_rank(rank);
    const int end = first + topology.slots_per_rank();
    for (int slot = first; slot < end; ++slot) {
      held_by[old_experts[slot]] = mark;
    }
    for (int slot = first; slot < end; ++slot) {
      // A second copy of the same expert is a copy inside the rank: nothing crosses a link.
      num_moves += std::exchange(held_by[new_experts[slot]], mark) != mark ? 1 : 0;
    }
  }
  return num_moves;
}

void CheckSameShape(const Placement& from, const Placement& to) {
  STEELYARD_CHECK_EQ(from.topology().num_ranks(), to.topology().num_ranks());
  STEELYARD_CHECK_EQ(from.topology().slots_per_rank(), to.topology().slots_per_rank());
  STEELYARD_CHECK_EQ(from.num_layers(), to.num_layers());
  STEELYARD_CHECK_EQ(from.num_experts(), to.num_experts());
}

}  // namespace

int CountMoves(const Placement& from, const Placement& to, int layer_idx) {
  CheckSameShape(from, to);
  std::vector<int64_t> held_by(from.num_experts(), -1);
  int64_t mark = 0;
  return CountMovesOfLayer(from, to, layer_idx, held_by, mark);
}

int64_t CountMoves(const Placement& from, const Placement& to) {
  CheckSameShape(from, to);
  std::vector<int64_t> held_by(from.num_experts(), -1);
  int64_t mark = 0;
  int64_t num_moves = 0;
  for (int layer_idx = 0; layer_idx < from.num_layers(); ++layer_idx) {
    num_moves += CountMovesOfLayer(from, to, layer_idx, held_by, mark);
  }
  return num_moves;
}

std::vector<std::vector<int32_t>> LogicalToPhysical(const Placement& placement, int layer_idx) {
  std::vector<std::vector<int32_t>> slots(placement.num_experts());
  const std::span<const int32_t> experts = placement.slot_to_expert(layer_idx);
  for (int slot = 0; slot < placement.num_slots(); ++slot) {
    slots[experts[slot]].push_back(slot);
  }
  return slots;
}

std::vector<int32_t> ExpertMap(const Placement& placement, int layer_idx, int rank) {
  const Topology& topology = placement.topology();
  STEELYARD_CHECK(0 <= rank && rank < topology.num_ranks());
  std::vector<int32_t> local_slots(placement.num_experts(), -1);
  const std::span<const int32_t> experts = placement.slot_to_expert(layer_idx);
  for (int local = topology.slots_per_rank() - 1; local >= 0; --local) {
    local_slots[experts[topology.first_slot_of_rank(rank) + local]] = local;
  }
  return local_slots;
}

}  // namespace steelyard
