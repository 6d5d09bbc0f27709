#include "migrate/round_packer.h"

#include <algorithm>

namespace steelyard {

size_t RoundPacker::Add(const RankedCycle& cycle, size_t first_round) {
  size_t round = std::max(first_round, FirstAllowedRound(cycle));
  while (round < arrivals_.size() && !Fits(cycle.cycle, arrivals_[round])) {
    ++round;
  }
  while (arrivals_.size() <= round) {
    arrivals_.emplace_back(from_.topology().num_ranks(), 0);
    rounds_.emplace_back();
  }
  for (const SlotChange& change : cycle.cycle.changes) {
    ++arrivals_[round][change.rank];
    deliveries_.try_emplace(DeliveryKey(cycle.layer, change), round);
  }
  rounds_[round].push_back(&cycle);
  return round;
}

RoundPacker::Key RoundPacker::DeliveryKey(int layer, const SlotChange& change) const {
  return {layer, change.arriving, from_.topology().node_of_rank(change.rank)};
}

size_t RoundPacker::FirstAllowedRound(const RankedCycle& cycle) const {
  size_t round = 0;
  if (from_.topology().num_nodes() == 1) {
    return round;
  }
  for (const SlotChange& change : cycle.cycle.changes) {
    const auto found = deliveries_.find(DeliveryKey(cycle.layer, change));
    if (found != deliveries_.end() && !HeldOnNode(cycle.layer, change)) {
      round = std::max(round, found->second + 1);
    }
  }
  return round;
}

bool RoundPacker::HeldOnNode(int layer, const SlotChange& change) const {
  const Topology& topology = from_.topology();
  const int node = topology.node_of_rank(change.rank);
  const std::span<const int32_t> slots = from_.slot_to_expert(layer);
  const int first = topology.first_slot_of_rank(node * topology.ranks_per_node());
  const int count = topology.ranks_per_node() * topology.slots_per_rank();
  const auto end = slots.begin() + first + count;
  return std::find(slots.begin() + first, end, change.arriving) != end;
}

bool RoundPacker::Fits(const ExchangeCycle& cycle, const std::vector<int>& arrivals) const {
  return std::all_of(cycle.changes.begin(), cycle.changes.end(),
                     [&](const SlotChange& change) { return arrivals[change.rank] < capacity_; });
}

}  // namespace steelyard
