// What the plan of one layer has moved so far, held against the limits on moves.
//
// A move is an expert on a rank that does not have it in force. Each is served by a rank that is
// alive and has the expert in force, one of the receiver's node before others; an expert that no
// such rank has comes from outside, and counts against no pair of ranks. One object per worker.
// After Prepare() nothing allocates.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// What ranks hold in force: a row of a placement that may be of other ranks than those planned
/// for. Ranks are matched by number.
struct RowInForce {
  std::span<const int32_t> slot_to_expert;  // [num_ranks, slots_per_rank], negative where empty
  int num_ranks = 0;
  int slots_per_rank = 0;

  std::span<const int32_t> rank(int rank) const {
    if (rank >= num_ranks) return {};
    return slot_to_expert.subspan(static_cast<size_t>(rank) * slots_per_rank, slots_per_rank);
  }
};

/// `rank` gives up `out` (negative: a free slot) for `in`.
struct Exchange {
  int32_t rank;
  int32_t out;
  int32_t in;
};

class MoveLedger {
 public:
  void Prepare(const LayerShape& shape, const Topology& topology);

  /// Nothing is held and nothing moved. `limits` outlives the plan of the layer.
  void Begin(const MoveLimits& limits, const RowInForce& in_force);

  /// Takes what is held now, [num_slots], negative where nothing is.
  void Assign(std::span<const int32_t> slot_to_expert);

  /// Whether the limits of a layer are kept after these exchanges, each on another rank. Where not,
  /// blocked() is the limit that is not.
  bool Allows(std::span<const Exchange> exchanges);
  void Note(const Exchange& exchange);

  /// Whether they are kept by what is held; sets blocked() as Allows() does.
  bool IsWithin();

  /// Moves that are held, and what an exchange adds to them.
  int moves() const { return moves_; }
  int MovesOf(const Exchange& exchange) const {
    return (IsInForce(exchange.rank, exchange.in) ? 0 : 1) -
           (exchange.out < 0 || IsInForce(exchange.rank, exchange.out) ? 0 : 1);
  }

  BindingLimit blocked() const { return blocked_; }
  void ClearBlocked() { blocked_ = BindingLimit::kNone; }

 private:
  static constexpr int kMaxExchanges = 2;

  bool IsInForce(int rank, int expert) const {
    return (in_force_[WordOf(rank, expert)] >> (rank & 63) & 1) != 0;
  }
  size_t WordOf(int rank, int expert) const {
    return static_cast<size_t>(expert) * words_per_expert_ + (rank >> 6);
  }
  size_t NodeEntry(int rank, int expert) const {
    return static_cast<size_t>(topology_->node_of_rank(rank)) * num_experts_ + expert;
  }
  std::span<int32_t> received(int rank) {
    return {received_.data() + static_cast<size_t>(rank) * slots_per_rank_,
            static_cast<size_t>(num_received_[rank])};
  }
  void Change(int rank, int expert, int delta);
  BindingLimit FirstExceeded(int rank);
  bool SourcesSuffice(int rank);
  bool FindSource(std::span<const int32_t> wanted, int move_idx);
  bool TrySource(std::span<const int32_t> wanted, int move_idx, int source);

  const Topology* topology_ = nullptr;
  MoveLimits limits_;
  int num_experts_ = 0;
  int num_ranks_ = 0;
  int slots_per_rank_ = 0;
  int words_per_expert_ = 1;
  int moves_ = 0;
  int64_t crossings_ = 0;
  BindingLimit blocked_ = BindingLimit::kNone;
  int receiver_ = 0;                    // whose sources are sought
  std::vector<uint64_t> in_force_;      // [num_experts, words_per_expert] a bit per live rank
  std::vector<int32_t> num_received_;   // [num_ranks]
  std::vector<int32_t> received_;       // [num_ranks, slots_per_rank] experts
  std::vector<uint8_t> node_in_force_;  // [num_nodes, num_experts]
  std::vector<int32_t> node_holders_;   // [num_nodes, num_experts] ranks that hold it now
  std::vector<int32_t> source_of_;      // [slots_per_rank] by move of the receiver
  std::vector<int64_t> num_served_;     // [num_ranks] moves of the receiver that a rank serves
  std::vector<uint8_t> visited_;        // [num_ranks]
};

}  // namespace steelyard
