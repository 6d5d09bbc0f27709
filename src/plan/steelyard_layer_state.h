// One layer while the `steelyard` policy searches it: which ranks hold which experts, and what that
// makes every rank carry.
//
// Loads are whole numbers kept in doubles (a mean rank load is 2^32), so sums are exact in any
// order: a change that is undone restores every bit, and the state depends only on which rank holds
// what, never on how the search got there. One object per worker; not for use by two threads at
// once. After Prepare() nothing allocates.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_shape.h"
#include "steelyard/base/span.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

class MoveLedger;

class LayerState {
 public:
  /// The load of a mean rank, summed over the bins of a layer: the unit of every load here. A rank
  /// of mean speed takes as much time for it.
  static constexpr double kMeanLoad = 4294967296.0;

  void Prepare(const LayerShape& shape);
  const LayerShape& shape() const { return shape_; }

  /// Takes the tokens of every expert, `bins` [num_bins, num_experts], bins already multiplied by
  /// their weights. False, and nothing set, where there is no load at all.
  bool SetLoads(Span2<const double> bins);

  /// Takes a placement of the layer, [num_slots], kClosedSlot where there is no slot, and makes it
  /// the base that moves are counted from. Requires: SetLoads() before; every expert has a slot, no
  /// rank holds one twice, some rank that is alive has a slot.
  void Assign(std::span<const int32_t> slot_to_expert);

  /// Counts moves from what is held now.
  void SetBase();

  /// Lets a ledger follow what is held, and limit it; null: none. It holds what the state does.
  void Follow(MoveLedger* ledger) { ledger_ = ledger; }
  /// Logs every step until it is undone; null: no longer.
  void LogTo(std::vector<Step>* log) { log_ = log; }

  /// Whether limits allow the step.
  bool Allows(const Step& step) const { return ledger_ == nullptr || LedgerAllows(step); }
  /// The limit that has been in the way since this was cleared.
  BindingLimit blocked() const;
  void ClearBlocked();

  void Apply(const Step& step);
  /// Takes the last step back.
  void Undo(const Step& step);

  /// Load of an expert over all bins, and of one of its copies now, with one copy more and with one
  /// less.
  std::span<const double> expert_loads() const { return expert_load_; }
  double copy_load(int expert) const { return copy_load_[expert].now; }
  double copy_load_with_one_more(int expert) const { return copy_load_[expert].more; }
  double copy_load_with_one_less(int expert) const { return copy_load_[expert].less; }
  int copies(int expert) const { return copies_[expert]; }

  bool Holds(int rank, int expert) const { return HasBit(holders_, rank, expert); }
  bool HeldInBase(int rank, int expert) const { return HasBit(base_, rank, expert); }
  /// (expert, rank) pairs that the base lacks, and those of one rank.
  int moves() const { return moves_; }
  int moves(int rank) const { return rank_moves_[rank]; }

  /// What giving up one expert for another on a rank adds to moves().
  int MovesOf(int rank, int out_expert, int in_expert) const {
    return (HeldInBase(rank, in_expert) ? 0 : 1) - (HeldInBase(rank, out_expert) ? 0 : 1);
  }

  /// What a rank holds, the heaviest copy first, ties to the lowest expert; nothing on a dead rank.
  std::span<const HeldExpert> held(int rank) const {
    return {held_.data() + static_cast<size_t>(rank) * shape_.slots_per_rank,
            static_cast<size_t>(num_held_[rank])};
  }

  /// Ranks that hold anything: more copies than these no expert has.
  int num_ranks() const { return num_ranks_; }
  /// Time by load of a rank: 1 where it is as fast as the mean.
  double slowness(int rank) const { return slowness_[rank]; }
  double speed(int rank) const { return speed_[rank]; }
  double rank_load(int rank) const { return rank_load_[rank]; }
  /// What its load takes a rank, in units of load: heat is time.
  double rank_time(int rank) const { return rank_time_[rank]; }
  /// The i-th hottest of the num_ranks() ranks and the i-th coolest, from 0: one order, hotter
  /// first, of equals the lower rank.
  int hot_rank(int i) const { return ranks_by_heat_[i]; }
  int cool_rank(int i) const { return ranks_by_heat_[num_ranks_ - 1 - i]; }
  double max_rank_time() const { return rank_time(hot_rank(0)); }
  /// No rank takes less time with `more` load than this.
  double LeastTimeWith(double more) const {
    return rank_time(cool_rank(0)) + more * least_slowness_;
  }
  /// That both ranks would take, could their loads be levelled.
  double LevelTime(int rank_a, int rank_b) const {
    const double load = rank_load_[rank_a] + rank_load_[rank_b];
    return shape_.topology == nullptr ? 0.5 * load : load / (speed_[rank_a] + speed_[rank_b]);
  }
  /// The same in one bin, where there are several.
  double LevelBin(int rank_a, int rank_b, int bin_idx) const {
    return (rank_bins(rank_a)[bin_idx] + rank_bins(rank_b)[bin_idx]) /
           (speed_[rank_a] + speed_[rank_b]);
  }

  /// The same bin by bin: of a copy of an expert, now, with one copy more and with one less, and of
  /// a rank, [num_bins]. Only kept where there are several bins.
  const double* copy_bins(int expert) const { return copy_bins_.data() + BinOffset(expert); }
  const double* copy_bins_with_one_more(int expert) const {
    return more_bins_.data() + BinOffset(expert);
  }
  const double* copy_bins_with_one_less(int expert) const {
    return less_bins_.data() + BinOffset(expert);
  }
  const double* rank_bins(int rank) const { return rank_bins_.data() + BinOffset(rank); }

  /// The objective of docs/planning.md, in units of load: the largest rank time of each bin, summed
  /// over the bins.
  double Objective() const;

  /// The nearest whole number. Requires: |value| < 2^51.
  static double Whole(double value) {
    constexpr double kShift =
        6755399441055744.0;  // 1.5 x 2^52: a sum with it has no bits below one
    return (value + kShift) - kShift;
  }

  /// Calls visit(rank) for every rank that holds `expert`, ascending.
  template <typename Visit>
  void ForEachHolder(int expert, Visit visit) const {
    const uint64_t* words = holders_.data() + static_cast<size_t>(expert) * words_per_expert_;
    for (int i = 0; i < words_per_expert_; ++i) {
      for (uint64_t word = words[i]; word != 0; word &= word - 1) {
        visit(64 * i + std::countr_zero(word));
      }
    }
  }

  /// What each other holder of `expert` carries more when one gives its copy up.
  double RiseWithoutACopy(int expert) const {
    return copy_load_[expert].less - copy_load_[expert].now;
  }
  /// The longest time that this leaves among holders other than `rank`, which gives its copy up,
  /// and `hot`; 0 where there are none.
  double HottestHolderWithout(int expert, int rank, int hot) const {
    const double rise = RiseWithoutACopy(expert);
    double hottest = 0.0;
    ForEachHolder(expert, [&](int holder) {
      if (holder == rank || holder == hot) return;
      hottest = std::max(hottest, rank_time_[holder] + rise * slowness_[holder]);
    });
    return hottest;
  }

  /// Writes what is held, [num_slots]: an expert that `current` has on the same rank keeps its
  /// slot, the others fill the free slots in ascending order. Closed slots stay closed.
  void WriteSlots(std::span<const int32_t> current, std::span<int32_t> slot_to_expert);

 private:
  struct CopyLoads {
    double now;
    double more;
    double less;
  };

  bool has_bins() const { return shape_.num_bins > 1; }
  size_t BinOffset(int row) const { return static_cast<size_t>(row) * shape_.num_bins; }
  bool HasBit(const std::vector<uint64_t>& bits, int rank, int expert) const {
    return (bits[static_cast<size_t>(expert) * words_per_expert_ + (rank >> 6)] >> (rank & 63) &
            1) != 0;
  }
  void FlipHolder(int rank, int expert) {
    holders_[static_cast<size_t>(expert) * words_per_expert_ + (rank >> 6)] ^= uint64_t{1}
                                                                               << (rank & 63);
  }

  bool LedgerAllows(const Step& step) const;
  void Take(const Step& step);
  void AssignRank(int rank, std::span<const int32_t> slots);
  void ComputeCopyLoads(int expert);
  void SetCopies(int expert, int copies);
  void Exchange(int rank, int out_expert, int in_expert);
  void AddToRank(int rank, double delta);
  void SetHeld(int rank, int old_expert, HeldExpert entry);

  LayerShape shape_;
  MoveLedger* ledger_ = nullptr;
  std::vector<Step>* log_ = nullptr;
  int words_per_expert_ = 1;
  int num_ranks_ = 0;
  int moves_ = 0;
  double least_slowness_ = 1.0;
  std::vector<double> expert_bins_;     // [num_experts, num_bins]
  std::vector<double> copy_bins_;       // [num_experts, num_bins]
  std::vector<double> more_bins_;       // [num_experts, num_bins]
  std::vector<double> less_bins_;       // [num_experts, num_bins]
  std::vector<double> expert_load_;     // [num_experts]
  std::vector<CopyLoads> copy_load_;    // [num_experts]
  std::vector<int32_t> copies_;         // [num_experts]
  std::vector<uint64_t> holders_;       // [num_experts, words_per_expert] a bit per rank
  std::vector<uint64_t> base_;          // the same for the base
  std::vector<HeldExpert> held_;        // [num_ranks, slots_per_rank]
  std::vector<int32_t> num_held_;       // [num_ranks]
  std::vector<double> speed_;           // [num_ranks] by the mean of the ranks that are alive
  std::vector<double> slowness_;        // [num_ranks] 1 / speed, 0 of dead ranks
  std::vector<int32_t> rank_moves_;     // [num_ranks]
  std::vector<double> rank_load_;       // [num_ranks]
  std::vector<double> rank_time_;       // [num_ranks] load times slowness
  std::vector<double> rank_bins_;       // [num_ranks, num_bins]
  std::vector<int32_t> ranks_by_heat_;  // [num_ranks_] of those that hold anything
  std::vector<int32_t> mark_;           // [num_experts]
};

}  // namespace steelyard
