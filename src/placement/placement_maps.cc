// What placements are asked for: moves between two of them, and the inverse maps of one.
#include <utility>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

// The slots of one rank in one layer; none where there is no such rank.
std::span<const int32_t> SlotsOfRank(const Placement& placement, int layer_idx, int rank) {
  const Topology& topology = placement.topology();
  if (rank >= topology.num_ranks()) {
    return {};
  }
  return placement.slot_to_expert(layer_idx).subspan(topology.first_slot_of_rank(rank),
                                                     topology.live_slots(rank));
}

// Adds up the moves of one layer. `held_by` [num_experts] holds, between calls, only values that no
// later (layer, rank) uses as its mark, so that it need not be cleared; `mark` is the next free
// one.
int CountMovesOfLayer(const Placement& from, const Placement& to, int layer_idx,
                      std::vector<int64_t>& held_by, int64_t& mark) {
  int num_moves = 0;
  for (int rank = 0; rank < to.topology().num_ranks(); ++rank, ++mark) {
    for (const int32_t expert : SlotsOfRank(from, layer_idx, rank)) {
      held_by[expert] = mark;
    }
    for (const int32_t expert : SlotsOfRank(to, layer_idx, rank)) {
      // A second copy of the same expert is a copy inside the rank: nothing crosses a link.
      num_moves += std::exchange(held_by[expert], mark) != mark ? 1 : 0;
    }
  }
  return num_moves;
}

void CheckSameExperts(const Placement& from, const Placement& to) {
  STEELYARD_CHECK_EQ(from.num_layers(), to.num_layers());
  STEELYARD_CHECK_EQ(from.num_experts(), to.num_experts());
}

}  // namespace

int CountMoves(const Placement& from, const Placement& to, int layer_idx) {
  CheckSameExperts(from, to);
  std::vector<int64_t> held_by(from.num_experts(), -1);
  int64_t mark = 0;
  return CountMovesOfLayer(from, to, layer_idx, held_by, mark);
}

int64_t CountMoves(const Placement& from, const Placement& to) {
  CheckSameExperts(from, to);
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
    if (experts[slot] != kNoExpert) slots[experts[slot]].push_back(slot);
  }
  return slots;
}

std::vector<int32_t> ExpertMap(const Placement& placement, int layer_idx, int rank) {
  const Topology& topology = placement.topology();
  STEELYARD_CHECK(0 <= rank && rank < topology.num_ranks());
  std::vector<int32_t> local_slots(placement.num_experts(), -1);
  const std::span<const int32_t> experts = SlotsOfRank(placement, layer_idx, rank);
  for (int local = static_cast<int>(experts.size()) - 1; local >= 0; --local) {
    local_slots[experts[local]] = local;
  }
  return local_slots;
}

}  // namespace steelyard
