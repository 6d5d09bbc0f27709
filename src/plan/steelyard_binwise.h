// The last part of the `steelyard` search, for loads in several bins: lowers the sum over bins of
// the largest rank load.
#pragma once

#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// Takes, one after another, the swap or replacement that lowers the objective of docs/planning.md
/// most for its price, starting from the ranks that are hottest in some bin. Every step pays for
/// itself. One object per worker. After Prepare() nothing allocates.
class BinwiseSearch {
 public:
  void Prepare(const LayerShape& shape);

  /// Requires: several bins. `price` is that of a move, in units of load.
  void Run(double price, int max_steps, LayerState& state);

 private:
  /// The three hottest ranks of a bin, hottest first; absent ones are rank -1 and carry nothing.
  struct Top {
    double load[3];
    int32_t rank[3];
  };
  struct HotRank {
    double gain;  // no change of this rank and one other wins more
    int32_t rank;
  };

  void FindTops();
  void FindHotRanks();
  bool FindBestStep();
  void TryPartner(int hot, int other);
  void TrySwaps(int hot, int other);
  void TryAdds(int hot, int other);
  void TrySheds(int hot, int other);
  void Raise(int expert, int rank, int hot);
  /// An objective that is not below this is no better than what has been found.
  double Limit(int moves) const { return objective_ - best_gain_ - price_ * moves; }
  void Offer(double objective, int moves, const Step& step);

  LayerState* state_ = nullptr;
  double price_ = 0.0;
  double objective_ = 0.0;  // now
  double best_gain_ = 0.0;  // of best_, price paid
  Step best_;
  std::vector<Top> tops_;           // [num_bins]
  std::vector<HotRank> hot_ranks_;  // at most num_bins, the largest gain first
  std::vector<double> rest_;        // [num_bins] the largest load outside the pair at hand
  std::vector<double> raised_;      // [num_bins] the same when an expert loses a copy
  std::vector<double> hot_bins_;    // [num_bins] the hot rank's loads then
};

}  // namespace steelyard
