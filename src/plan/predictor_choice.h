// The choice among predictors, and what a promised gain is worth: both are learnt from how earlier
// plans did on the window that came after them.
//
// For every layer a plan is made on each candidate's forecast, from the placement in force; one is
// used, all are remembered in the policy's state. Once the next window has come, each is judged by
// the imbalance that it would have had there, not by how close its forecast was. Scores fade. Where
// loads switch to what nobody has seen, one placement is better than another by luck, and one such
// window outweighs many: so a lead over the first candidate counts only as far as it stands out
// from the differences between windows and between layers, is mostly that of all layers together,
// and has to be worth it: the first candidate forgets least, which pays only when loads return.
//
// The same judgement gives, for each candidate, the part of the gain it promised that came true,
// over all layers. A move is paid by the gain that it will really bring, so the price of moves is
// divided by that part.
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

  /// Starts a plan on input.topology(), which outlives it: takes what `state` remembers, where it
  /// is of this shape, else nothing.
  void Begin(const PlanInput& input, const PolicyState& state);

  /// What to plan on: one predictor, or those that kAuto chooses from, the one for a start first.
  std::span<const Predictor> candidates() const { return candidates_; }

  /// There are plans to judge. Then Judge() each layer, which may be done in parallel with a
  /// workspace each, before the first best() or price_factor().
  bool remembers() const { return remembers_; }
  /// `bins` [num_bins, num_experts] are those of the window that has just ended, on
  /// input.topology().
  void Judge(int layer_idx, Span2<const double> bins, ScoreWorkspace& workspace);
  void FinishJudging();

  /// Index into candidates(): the first where no other leads.
  int best(int layer_idx) const;
  /// For plans on a candidate's forecast; at least 1.
  double price_factor(int candidate_idx) const { return totals_[candidate_idx].price_factor; }

  /// Plans are worth remembering: candidates can differ, there being more than one window.
  bool keeps_plans() const { return keeps_plans_; }
  /// Where to put the plan of a layer on a candidate's forecast, [num_slots]; different layers may
  /// be written in parallel.
  std::span<int32_t> plan(int layer_idx, int candidate_idx);
  /// Where to put its shares, and after those of the last candidate the shares that are best for
  /// what is in force, [num_slots]; empty where the split is even.
  std::span<double> shares(int layer_idx, int plan_idx);
  /// The gain in imbalance that this plan has on its forecast.
  void Promise(int layer_idx, int candidate_idx, double gain) {
    plan_of(layer_idx, candidate_idx).promised = gain;
  }

  /// Ends a plan that changes `current`.
  PolicyState Remember(const Placement& current) const;

 private:
  struct PlanRecord {
    double promised = 0.0;
    double realised = 0.0;
    double score = 0.0;  // faded sum of imbalances
  };
  struct Total {  // means over layers, faded
    double promised = 0.0;
    double realised = 0.0;
    double lead = 0.0;           // as far as it is believed
    double spread = 0.0;         // standard deviation of the layers' leads
    double squared_leads = 0.0;  // of the windows, faded twice
    double price_factor = 1.0;
  };

  bool Recall(const PolicyState& state);
  /// By how much a candidate's score of a layer is below the first one's.
  double Lead(int layer_idx, int candidate_idx) const;
  size_t PlanOffset(int layer_idx, int plan_idx) const {
    return (static_cast<size_t>(layer_idx) * (candidates_.size() + 1) + plan_idx) * num_slots_;
  }
  PlanRecord& plan_of(int layer_idx, int candidate_idx) {
    return records_[static_cast<size_t>(layer_idx) * candidates_.size() + candidate_idx];
  }

  const Topology* topology_ = nullptr;  // of the input
  RankCost cost_;
  int num_layers_ = 0;
  size_t num_slots_ = 0;
  double judged_ = 0.0;  // windows, faded
  bool remembers_ = false;
  bool keeps_plans_ = false;
  bool is_weighted_ = false;
  std::vector<Predictor> candidates_;
  std::vector<Total> totals_;        // [candidates]
  std::vector<PlanRecord> records_;  // [num_layers, candidates]
  // [num_layers, candidates + 1, num_slots]; the last plan of a layer is what was in force.
  std::vector<int32_t> plans_;
  std::vector<double> shares_;  // the same, or empty
};

}  // namespace steelyard
