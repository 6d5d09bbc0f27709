// The search of the `steelyard` policy where a rank's cost is not its tokens alone: it follows the
// true cost of every change, which is slower and comes without a certificate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_path.h"
#include "steelyard/base/span.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// One object per worker. After Prepare() nothing allocates.
class CostSearch {
 public:
  void Prepare(const LayerShape& shape, const Topology& topology);

  /// Takes the loads of a layer, [num_bins, num_experts]; a row stands for `weights` [num_bins]
  /// bins, whose tokens it sums.
  void Begin(Span2<const double> bins, std::span<const double> weights, const RankCost& cost);

  /// CostImbalance() of what is held, in units of load: LayerState::kMeanLoad is level.
  double Objective(const LayerState& state);

  /// Takes, one after another, the swap, added or shed copy that lowers most, per move, the eighth
  /// power of the costs of all ranks, by which ranks that are equally hot count each; leaves
  /// `state` at the point of this path where objective + price x moves was least.
  void Run(double price, LayerState& state);

 private:
  /// What becomes of a rank's part in an expert: `parts` of its tokens more, and `copies` of it.
  struct Change {
    int expert;
    double parts;
    double copies;
  };

  size_t BinOffset(int row) const { return static_cast<size_t>(row) * padded_bins_; }
  double CostOf(int rank, size_t bin_idx) const;
  /// Reads what a rank holds.
  void ReadRank(const LayerState& state, int rank);
  /// What a rank adds to the sum of powers by which steps are chosen, after these changes.
  double PowerAfter(int rank, const Change& a, const Change& b) const;
  void OrderRanks(const LayerState& state);
  Step FindStep(LayerState& state);
  void TryPair(int hot, int other, const LayerState& state);
  void Try(const Step& step, const LayerState& state);
  double GainOf(const Step& step, const LayerState& state) const;

  const Topology* topology_ = nullptr;
  LayerShape shape_;
  size_t padded_bins_ = 0;  // num_bins and empty ones, up to whole vectors
  bool has_load_ = false;
  double best_gain_ = 0.0;
  Step best_;
  // Costs are in units of what no placement is below, and include the weight of their bin.
  std::vector<double> token_cost_;   // [num_experts, padded_bins] of an expert's tokens
  std::vector<double> active_cost_;  // [num_experts, padded_bins] of its being active, 0 if not
  std::vector<double> token_base_;   // [padded_bins] of no tokens
  std::vector<double> active_base_;  // [padded_bins] of no active experts
  std::vector<double> by_tokens_;    // [num_ranks, padded_bins]
  std::vector<double> by_active_;    // [num_ranks, padded_bins]
  std::vector<double> rank_cost_;    // [num_ranks] over all bins
  std::vector<double> rank_power_;   // [num_ranks] before the step that is looked for
  std::vector<int32_t> ranks_;       // live ones, the costliest first
  StepPath path_;
};

}  // namespace steelyard
