// The last part of the `steelyard` search, for loads in several bins: lowers the sum over bins of
// the largest rank load.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// Takes, one after another, the swap or replacement that lowers the objective of docs/planning.md
/// most for its price, of those that change the rank with most to win among the hottest of each
/// bin; where it has none, the next such rank. Every step pays for itself. One object per worker.
/// After Prepare() nothing allocates.
class BinwiseSearch {
 public:
  void Prepare(const LayerShape& shape);

  /// Requires: several bins. `price` is that of a move, in units of load.
  void Run(double price, int max_steps, LayerState& state);

 private:
  static constexpr int kNumPartners = 8;

  /// The three hottest ranks of a bin, hottest first; absent ones are rank -1 and carry nothing.
  struct Top {
    double load[3];
    int32_t rank[3];
  };
  struct HotRank {
    double gain;  // at most, in bins where it is the hottest, by a change of it and one other
    int32_t rank;
  };
  /// What a rank holds, bin by bin, so that all of it is weighed together: column i is the i-th of
  /// held().
  struct Columns {
    std::span<const double> copies_in(size_t bin_idx) const {
      return {copy.data() + bin_idx * held.size(), held.size()};
    }
    std::span<const double> more_in(size_t bin_idx) const {
      return {more.data() + bin_idx * held.size(), held.size()};
    }

    int32_t rank = -1;
    double slowness = 1.0;
    const double* bins = nullptr;  // [num_bins] what it carries
    std::span<const HeldExpert> held;
    std::vector<double> copy;  // [num_bins, held] of a copy now
    std::vector<double> more;  // [num_bins, held] with one more
  };

  void FindTops();
  void FindHotRanks();
  bool FindBestStep();
  void ReadColumns(int rank, Columns& columns) const;
  void FindRelief();
  void FindRest(int rank, int other);
  void TrySwaps(const Columns& other);
  void TryAdds(const Columns& other);
  void TrySheds();
  void TryShedding(int32_t b, const Columns& other);
  void Raise(int expert, int rank);
  /// The price of the moves that a change of `rank` adds at least.
  double LeastPrice(int rank) const { return state_->moves(rank) == 0 ? price_ : -price_; }
  /// What `rank` pays for taking `expert`, and what it is paid for giving it up.
  double Price(int rank, int expert) const {
    return state_->HeldInBase(rank, expert) ? 0.0 : price_;
  }
  /// For each of `giver` what `taker` pays for another copy of it; too much where that cannot be.
  void ListPrices(const Columns& giver, int taker, std::vector<double>& prices) const;
  void Offer(double score, const Step& step);

  LayerState* state_ = nullptr;
  double price_ = 0.0;
  double objective_ = 0.0;   // now
  double best_score_ = 0.0;  // objective and price of best_, or what it must be below
  Step best_;
  std::vector<Top> tops_;                       // [num_bins]
  std::vector<HotRank> hot_ranks_;              // at most num_bins, the largest gain first
  Columns hot_;                                 // the hot rank at hand
  std::array<Columns, kNumPartners> partners_;  // the coolest ranks, the coolest first
  int num_partners_ = 0;
  std::vector<double> rest_;      // [num_bins] the largest load outside the ranks at hand
  std::vector<double> raised_;    // [num_bins] the same when an expert loses a copy
  std::vector<double> hot_bins_;  // [num_bins] the hot rank's loads then
  std::vector<double> relief_;    // [num_bins] that a copy elsewhere is to the hot rank at most
  std::vector<double> prices_;    // [slots_per_rank]
  std::vector<double> scores_;    // [slots_per_rank] of the steps that are weighed together
};

}  // namespace steelyard
