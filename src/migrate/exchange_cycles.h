// Splits the difference of two layers into cycles: the smallest pieces that can be committed one at
// a time.
//
// See a layer as a graph whose nodes are the ranks and one more, the *void*: an expert that leaves
// rank a and arrives at rank b is an edge a -> b, one more copy is an edge void -> b, one copy less
// an edge a -> void. Ranks keep their number of slots, so every node has as many edges in as out,
// and the edges fall apart into simple cycles. Carrying out one cycle gives each rank on it one
// arrival and takes one expert from it; copies of an expert never fall below what they are before
// or after.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/placement/topology.h"

namespace steelyard {

/// What one cycle does to one rank: `arriving` takes the slot of `leaving`.
struct SlotChange {
  int32_t rank = 0;
  int32_t arriving = 0;
  int32_t leaving = 0;
};

struct ExchangeCycle {
  std::vector<SlotChange> changes;  // one per rank on the cycle
};

/// `from` and `to` are [num_slots] of one layer, without duplicates. Deterministic.
std::vector<ExchangeCycle> SplitIntoCycles(const Topology& topology, int num_experts,
                                           std::span<const int32_t> from,
                                           std::span<const int32_t> to);

}  // namespace steelyard
