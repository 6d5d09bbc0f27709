// The `steelyard` policy for one layer: keep it, repair it at a price, or plan it from nothing
// (docs/planning.md).
//
// A pure function of its arguments; the object is workspace, one per worker. After Prepare()
// nothing allocates.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/plan_builder.h"
#include "plan/score.h"
#include "plan/steelyard_binwise.h"
#include "plan/steelyard_label.h"
#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_scratch.h"
#include "plan/steelyard_search.h"
#include "steelyard/base/span.h"

namespace steelyard {

struct LayerTask {
  Span2<const double> bins;          // [num_bins, num_experts] tokens times the weight of the bin
  std::span<const int32_t> current;  // [num_slots] in force; duplicates are allowed
  double price = 0.0;                // the imbalance that moving every slot must buy
  double gate = 0.0;                 // within this of the lower bound nothing changes
};

class LayerPlanner {
 public:
  void Prepare(const LayerShape& shape);

  /// Writes `slot_to_expert` [num_slots], without duplicates, every expert that stays on its rank
  /// in its slot. What it writes is a fixed point: the same task with that as `current` changes
  /// nothing. Requires: num_experts <= num_slots, slots_per_rank <= num_experts, at least the
  /// num_bins of Prepare() rows.
  LayerDecision Plan(const LayerTask& task, std::span<int32_t> slot_to_expert);

 private:
  void ReplaceDuplicates(std::span<int32_t> slot_to_expert);
  int32_t HeaviestCopyOutside(std::span<const int32_t> held) const;
  bool IsContiguous(std::span<const int32_t> slot_to_expert) const;
  bool PlanFromScratch(std::span<const int32_t> current);
  bool TryCounts();
  bool TryNeighbouringCounts();
  void ImproveUntilSettled(double price, double settled_at);
  void Search(double price, double lower_bound);

  LayerShape shape_;
  LayerState state_;
  ScratchPlacer placer_;
  RankLabeller labeller_;
  PathSearch path_;
  BinwiseSearch binwise_;
  ScoreWorkspace score_;
  double tau_ = 0.0;                 // the largest load per copy that the best counts have
  double lower_bound_ = 0.0;         // of the objective
  double best_objective_ = 0.0;      // of the plans from nothing so far, or of what is in force
  std::vector<int32_t> best_slots_;  // [num_slots] of the best of them
  std::vector<int32_t> slots_;       // [num_slots]
  std::vector<int32_t> copies_;      // [num_experts] ranks that hold an expert
  std::vector<int32_t> held_by_;     // [num_experts] last rank seen to hold it
};

}  // namespace steelyard
