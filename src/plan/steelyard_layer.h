// The `steelyard` policy for one layer: keep it, repair it at a price, or plan it from nothing
// (docs/planning.md).
//
// A pure function of its arguments; the object is workspace, one per worker. After Prepare()
// nothing allocates.
#pragma once

#include <climits>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/plan_builder.h"
#include "plan/score.h"
#include "plan/steelyard_binwise.h"
#include "plan/steelyard_budget.h"
#include "plan/steelyard_cost.h"
#include "plan/steelyard_fit.h"
#include "plan/steelyard_label.h"
#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_ledger.h"
#include "plan/steelyard_scratch.h"
#include "plan/steelyard_search.h"
#include "plan/steelyard_weighted.h"
#include "steelyard/base/span.h"

namespace steelyard {

struct LayerTask {
  Span2<const double> bins;   // [num_bins, num_experts] tokens times the weight of the bin
  RowInForce in_force;        // duplicates are allowed
  bool from_scratch = false;  // what is in force is no plan for these ranks, or none at all
  double price = 0.0;         // the imbalance that moving every slot must buy
  double gate = 0.0;          // within this of the lower bound nothing changes
  SplitRule split = SplitRule::kEven;
  RankCost cost = {};  // other than tokens: searched for an even split
  // How many bins, as they will be, each of `bins` stands for: [num_bins], needed for such a cost.
  std::span<const double> bin_weights = {};
  const MoveLimits* limits = nullptr;  // null: none
  int max_replaced = INT_MAX;          // duplicates that may be replaced
  LayerCurve* curve = nullptr;         // receives what the layer could buy; needs limits
};

class LayerPlanner {
 public:
  /// `topology` is what is planned for, and outlives the planner's use; shape.topology is ignored.
  void Prepare(const LayerShape& shape, const Topology& topology);

  /// The imbalance that a move must buy, where moving every slot must buy `price`. Without
  /// redundancy every change is a swap and takes two moves, which together cost what one costs
  /// elsewhere.
  static double PriceOfMove(double price, const Topology& topology, int num_experts);

  /// Writes `slot_to_expert` [num_slots], without duplicates but those that a limit keeps, every
  /// expert that stays on its rank in its slot. Where no limit binds, what it writes is a fixed
  /// point: the same task with that in force changes nothing. Fails with kFailedPrecondition where
  /// a limit leaves an expert or a slot without the other. Requires: num_experts <= live slots,
  /// slots_per_rank <= num_experts, at most the num_bins of Prepare() rows.
  Result<LayerDecision> Plan(const LayerTask& task, std::span<int32_t> slot_to_expert);

 private:
  /// Bins that are planned for besides those of the forecast.
  static constexpr int kMaxExtraBins = 2;

  void SetNumBins(int num_bins);
  void ComputeBound(SplitRule split);
  LayerDecision PlanFitted(const LayerTask& task, std::span<int32_t> slot_to_expert);
  bool IsContiguous(std::span<const int32_t> slot_to_expert) const;
  bool PlanFromScratch(const LayerTask& task, double settled_at);
  bool PlaceFromScratch(const LayerTask& task);
  void PlaceForUnseen(const LayerTask& task);
  bool TryManyCounts();
  bool TryCounts();
  bool TryAllCounts(int expert, int spare, double close_enough);
  bool TryFillers();
  int32_t LightestExpertWithRoom() const;
  bool TryNeighbouringCounts();
  void RepairFitted(const LayerTask& task, double settled_at);
  bool Improve(const LayerTask& task, double settled_at);
  void ImproveUntilSettled(double settled_at);
  double SumBins(Span2<const double> bins);
  Span2<const double> AddHedges(Span2<const double> bins);
  void TakeLoads(Span2<const double> bins, SplitRule split);
  void ChangeLoads(Span2<const double> bins, SplitRule split, std::span<const int32_t> slots);
  double Objective();
  void Search(double settled_at);
  void SearchAllBins(double price, double lower_bound, double settled_at);
  void SearchBinwise(double price);
  void WriteCurve(const LayerDecision& decision, LayerCurve& curve);
  void WriteSlots(std::span<int32_t> slot_to_expert);

  LayerShape shape_;
  const Topology* topology_ = nullptr;
  LayerFitter fitter_;
  MoveLedger ledger_;
  LayerState state_;
  ScratchPlacer placer_;
  RankLabeller labeller_;
  PathSearch path_;
  BinwiseSearch binwise_;
  WeightedSearch weighted_;
  CostSearch cost_;
  ScoreWorkspace score_;
  MoveLedger* limiting_ = nullptr;  // the ledger, where there are limits
  bool is_weighted_ = false;
  bool is_costed_ = false;                    // by something other than tokens
  double price_ = 0.0;                        // of a move, in units of load
  double tau_ = 0.0;                          // see PeakTime()
  double lower_bound_ = 0.0;                  // of the objective
  BindingLimit limit_ = BindingLimit::kNone;  // that was in the way when the search ended
  int scratch_moves_ = 0;
  double best_objective_ = 0.0;       // of the plans from nothing so far, or of what is in force
  std::vector<int32_t> fitted_;       // [num_slots] what is in force, fitted to the slots
  std::vector<int32_t> best_slots_;   // [num_slots] of the best plan from nothing
  std::vector<int32_t> in_state_;     // [num_slots] what was held before that
  std::vector<int32_t> repaired_;     // [num_slots] where repair within limits has led
  std::vector<int32_t> slots_;        // [num_slots]
  std::vector<int32_t> copies_;       // [num_experts] ranks that hold an expert
  std::vector<int32_t> best_copies_;  // [num_experts] of the best fillers
  std::vector<int32_t> unhedged_;     // [num_slots] where improvement starts
  std::vector<double> extra_bins_;    // [num_bins + kMaxExtraBins, num_experts]
  std::vector<double> sum_;           // [num_experts] of that
  std::vector<Step> log_;             // of the search
};

}  // namespace steelyard
