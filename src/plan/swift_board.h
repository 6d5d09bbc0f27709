// One layer while the `swift` policy plans it: who holds what, what each expert and rank weighs,
// and which transfers have been noted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/base/span.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

/// Memory is kept from layer to layer.
struct SwiftBoard {
  /// How a rank has an expert. One that this plan brought there may not leave again.
  enum Presence : uint8_t { kAbsent, kPresent, kReceived };

  /// Nobody holds anything.
  void Reset(const Topology& topology, int num_experts);

  int num_ranks() const { return static_cast<int>(rank_load.size()); }
  int num_experts() const { return static_cast<int>(weight.size()); }

  Span2<int32_t> slots() { return {slot_to_expert, rank_load.size(), slots_per_rank}; }
  Presence& presence(int rank, int expert) { return presence_of[rank * weight.size() + expert]; }
  uint8_t& transfer(int from, int to) { return transfers[from * rank_load.size() + to]; }

  /// Puts `expert` into a free slot of `rank`, and notes the transfer from its home.
  void Receive(int rank, int slot, int32_t expert);
  /// Each rank's load is the sum over its slots, in slot order.
  void SumRankLoads();

  size_t slots_per_rank = 0;
  std::vector<int32_t> slot_to_expert;  // [num_ranks, slots_per_rank] kNoExpert where free
  std::vector<int32_t> home;            // [num_experts] rank that holds the expert's first slot
  std::vector<int32_t> copies;          // [num_experts]
  std::vector<float> weight;            // [num_experts] tokens per copy, as the policy counts them
  std::vector<float> rank_load;         // [num_ranks]
  std::vector<Presence> presence_of;    // [num_ranks, num_experts]
  std::vector<uint8_t> transfers;       // [num_ranks, num_ranks] from, to
};

}  // namespace steelyard
