// The choice among predictors, and what a promised gain is worth: both are learnt from how earlier
// plans did on the window that came after them.
//
// For every layer a plan is made on each candidate's forecast, from the placement in force; one is
// used, all are remembered in the policy's state. Once the next window has come, each is judged by
// the imbalance that it would have had there, not by how close its forecast was. Scores fade, and
// are mostly those of all layers together: one layer's are noisy.
//
// The same judgement gives the part of the promised gain that came true, over all layers. A move is
// paid by the gain that it will really bring, so the price of moves is divided by that part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/score.h"
#include "steelyard/base/span.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

class PredictorChoice {
 public:
  /// Takes memory, so that Begin() for this shape allocates nothing where there is one window.
  void Prepare(int num_layers);

  /// Starts a plan: takes what `state` remembers, where it is of this shape, else nothing.
  void Begin(const PlanInput& input, const PolicyState& state);

  /// What to plan on: one predictor, or those that kAuto chooses from, the default first.
  std::span<const Predictor> candidates() const { return candidates_; }

  /// There are plans to judge. Then Judge() each layer, which may be done in parallel with a
  /// workspace each, before the first best() or price_factor().
  bool remembers() const { return remembers_; }
  /// `bins` [num_bins, num_experts] are those of the window that has just ended.
  void Judge(int layer_idx, Span2<const double> bins, const Topology& topology,
             ScoreWorkspace& workspace);
  void FinishJudging();

  /// Index into candidates().
  int best(int layer_idx) const;
  /// At least 1.
  double price_factor() const { return price_factor_; }

  /// Plans are worth remembering: candidates can differ, there being more than one window.
  bool keeps_plans() const { return keeps_plans_; }
  /// Where to put the plan of a layer on a candidate's forecast, [num_slots]; different layers may
  /// be written in parallel.
  std::span<int32_t> plan(int layer_idx, int candidate_idx);
  /// The plan that is used, and the gain in imbalance that its forecast promises.
  void Use(int layer_idx, int candidate_idx, double promised_gain) {
    layers_[layer_idx] = {.used = candidate_idx, .promised = promised_gain, .realised = 0.0};
  }

  /// Ends a plan that changes `current`.
  PolicyState Remember(const Placement& current) const;

 private:
  struct Layer {
    int used = 0;
    double promised = 0.0;
    double realised = 0.0;
  };

  bool Recall(const PolicyState& state, const Topology& topology);
  size_t PlanOffset(int layer_idx, int plan_idx) const {
    return (static_cast<size_t>(layer_idx) * (candidates_.size() + 1) + plan_idx) * num_slots_;
  }
  double& score(int layer_idx, int candidate_idx) {
    return scores_[static_cast<size_t>(layer_idx) * candidates_.size() + candidate_idx];
  }

  int num_layers_ = 0;
  size_t num_slots_ = 0;
  bool remembers_ = false;
  bool keeps_plans_ = false;
  double promised_ = 0.0;  // mean over layers, faded
  double realised_ = 0.0;
  double price_factor_ = 1.0;
  std::vector<Predictor> candidates_;
  std::vector<Layer> layers_;       // [num_layers]
  std::vector<double> scores_;      // [num_layers, candidates] faded sums of imbalances
  std::vector<double> all_scores_;  // [candidates] means over layers
  // [num_layers, candidates + 1, num_slots]; the last plan of a layer is what was in force.
  std::vector<int32_t> plans_;
};

}  // namespace steelyard
