// The search of the `steelyard` policy where replicas share an expert's tokens by weight: the layer
// is as hot as its bottleneck, the ranks that no split can cool, because all copies of what they
// carry are among them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/share_solver.h"
#include "plan/steelyard_fit.h"
#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_path.h"

namespace steelyard {

/// One object per worker. After Prepare() nothing allocates.
class WeightedSearch {
 public:
  void Prepare(const LayerShape& shape, const Topology& topology);

  /// Searches placements that are written against `fitter`'s reference.
  void Begin(const LayerFitter& fitter) { fitter_ = &fitter; }

  /// The time of the hottest rank under the best shares of the loads summed over bins, in units of
  /// load; shares() and slots() are those then.
  double Level(LayerState& state);
  std::span<const double> shares() const { return shares_; }
  std::span<const int32_t> slots() const { return slots_; }

  /// Leads load out of the bottleneck, step by step: a copy of what is confined to it on a cool
  /// rank over the redundant copy that carries least there; where none helps, by a chain or a swap.
  /// Leaves `state` at the point of this path where level + price x moves was least. `price` is
  /// that of a move, in units of load; nothing has a level below `lower_bound`.
  void Run(double price, double lower_bound, LayerState& state);

 private:
  struct Candidate {
    double estimate;  // the lower the better
    Step step;
  };
  /// A redundant copy on a cool rank.
  struct Spare {
    int32_t rank;
    int32_t expert;
    double taken;   // of the expert's load
    double others;  // the time of its other holders with that, if they alone took it
  };

  Step FindStep(LayerState& state, double price);
  void ReadBottleneck(const LayerState& state);
  void ListSpares(const LayerState& state);
  bool IsConfined(const LayerState& state, int expert) const;
  void ListAdds(const LayerState& state);
  void ListChains(const LayerState& state);
  void ListSwaps(const LayerState& state);
  void TryCandidates(LayerState& state, double price);

  const Topology* topology_ = nullptr;
  const LayerFitter* fitter_ = nullptr;
  ShareSolver solver_;
  double mean_speed_ = 1.0;
  double level_ = 0.0;
  double hot_load_ = 0.0;  // of the bottleneck
  double hot_speed_ = 0.0;
  double surplus_ = 0.0;  // load of the bottleneck above its part of all
  double best_value_ = 0.0;
  size_t num_hot_ = 0;  // ranks of the bottleneck
  Step best_;
  std::vector<int32_t> slots_;     // [num_slots]
  std::vector<double> shares_;     // [num_slots]
  std::vector<double> rank_time_;  // [num_ranks] under the shares
  std::vector<uint8_t> is_hot_;    // [num_ranks] in the bottleneck
  std::vector<int32_t> cool_;      // ranks outside of it, the coolest first
  std::vector<Spare> spares_;      // of those ranks
  std::vector<int32_t> confined_;  // experts, the heaviest first
  std::vector<uint8_t> seen_;      // [num_experts]
  std::vector<Candidate> candidates_;
  StepPath path_;
};

}  // namespace steelyard
