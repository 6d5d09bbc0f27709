// The search of the `steelyard` policy where a rank's cost is not its tokens alone: it follows the
// true cost of every change, which is slower and comes without a certificate.
#pragma once

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

  /// Takes the loads of a layer, [num_bins, num_experts]: each row stands for as many bins as it
  /// has times `bin_tokens`, the tokens of a bin as it will be.
  void Begin(Span2<const double> bins, double bin_tokens, const RankCost& cost);

  /// CostImbalance() of what is held, in units of load: LayerState::kMeanLoad is level.
  double Objective(const LayerState& state);

  /// Takes, one after another, the swap, added or shed copy that lowers most, per move, the eighth
  /// power of the costs of all ranks, by which ranks that are equally hot count each; leaves
  /// `state` at the point of this path where objective + price x moves was least.
  void Run(double price, LayerState& state);

 private:
  /// By speed and the weight of the bin.
  double CostOf(const LayerState& state, int rank, int bin_idx) const;
  /// What a rank adds to the sum of powers by which steps are chosen.
  double PowerOf(const LayerState& state, int rank) const;
  void OrderRanks(const LayerState& state);
  Step FindStep(LayerState& state);
  void TryPair(int hot, int other, LayerState& state);
  void Try(const Step& step, LayerState& state);
  double GainOf(const Step& step, const LayerState& state);

  const Topology* topology_ = nullptr;
  LayerShape shape_;
  RankCost cost_;
  double level_ = 0.0;  // that no placement is below
  double best_gain_ = 0.0;
  Step best_;
  std::vector<double> tokens_;      // [num_bins, num_experts]
  std::vector<double> weight_;      // [num_bins]
  std::vector<double> rank_cost_;   // [num_ranks] over all bins
  std::vector<double> rank_power_;  // [num_ranks] before the step that is looked for
  std::vector<int32_t> ranks_;      // live ones, the costliest first
  std::vector<int32_t> seen_;       // [num_ranks] last step whose gain counted the rank
  int32_t num_tried_ = 0;
  StepPath path_;
};

}  // namespace steelyard
