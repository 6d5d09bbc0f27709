// Deals the cycles of a migration into rounds, first fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "migrate/exchange_cycles.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct RankedCycle {
  int layer = 0;
  double gain = 0.0;
  ExchangeCycle cycle;
};

/// Cycles that are added must live as long as the packer.
class RoundPacker {
 public:
  /// No rank has more than `capacity` arrivals in a round.
  RoundPacker(const Placement& from, int capacity) : from_(from), capacity_(capacity) {}

  /// Puts the cycle into the first round from `first_round` on that has room for it, and returns
  /// which. An expert that several ranks of a node need crosses the node's link once: the others
  /// wait for that round and take it there.
  size_t Add(const RankedCycle& cycle, size_t first_round = 0);

  const std::vector<std::vector<const RankedCycle*>>& rounds() const { return rounds_; }

 private:
  using Key = std::tuple<int, int32_t, int>;  // layer, expert, node

  Key DeliveryKey(int layer, const SlotChange& change) const;
  size_t FirstAllowedRound(const RankedCycle& cycle) const;
  bool HeldOnNode(int layer, const SlotChange& change) const;
  bool Fits(const ExchangeCycle& cycle, const std::vector<int>& arrivals) const;

  const Placement& from_;
  int capacity_;
  std::vector<std::vector<const RankedCycle*>> rounds_;
  std::vector<std::vector<int>> arrivals_;  // [num_rounds][num_ranks]
  std::map<Key, size_t> deliveries_;  // first round that brings an expert of a layer to a node
};

}  // namespace steelyard
