// The arithmetic that every policy and every report shares: the bound below which no placement
// gets, and the objective.
//
// Pure functions of their arguments; a ScoreWorkspace only saves allocation. One workspace per
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/base/span.h"
#include "steelyard/placement/topology.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Load per copy of an expert, ordered so that the heaviest comes first and ties go to the lowest
/// expert.
struct CopyLoad {
  double load_per_copy;
  int32_t expert;
  int32_t copies;
};

/// Scratch memory. Grows on first use; nothing allocates after Reserve() for shapes up to that
/// size.
struct ScoreWorkspace {
  void Reserve(int num_experts);

  std::vector<CopyLoad> heap;    // [num_experts]
  std::vector<int32_t> copies;   // [num_experts]
  std::vector<double> strength;  // [num_live_ranks] of one copy, two, ..
};

/// Gives every expert one copy and then each further slot to the expert with the largest load per
/// copy (ties to the lowest expert) that has fewer than `num_ranks` copies. No other counts have a
/// smaller largest load per copy; that load is the result (docs/planning.md calls it tau). `copies`
/// [num_experts] receives the counts, which sum to `num_slots`. Requires: num_experts <= num_slots
/// <= num_experts * num_ranks.
double Apportion(std::span<const double> expert_loads, int num_ranks, int num_slots,
                 std::span<int32_t> copies, ScoreWorkspace& workspace);

/// max(floor, tau), with tau the shortest time that the expert which takes longest can be brought
/// to by any counts of copies. An expert with c copies takes no less than its load by c times the
/// speed of the c-th fastest rank, or, weighted, by the speed of the c fastest together. Requires:
/// num_experts <= live slots, no rank has more slots than there are experts, floor >= 0.
double PeakTime(std::span<const double> expert_loads, const Topology& topology, SplitRule split,
                double floor, ScoreWorkspace& workspace);

/// max(m, tau) / m with m the time that the load takes all ranks together: no placement on
/// `topology`, under this split, has a smaller imbalance on these loads. 1 when there is no load.
/// Requires: as PeakTime().
double LowerBound(std::span<const double> expert_loads, const Topology& topology, SplitRule split,
                  ScoreWorkspace& workspace);

/// The objective of docs/planning.md for one layer: over the bins, the weighted sum of the largest
/// rank load by the weighted sum of the mean rank load, a rank's load being its tokens by its
/// speed. At least 1; exactly 1 when there is no load. `bins` is [num_bins, num_experts],
/// `slot_to_expert` [num_slots]; `shares` [num_slots], or empty for an even split; `bin_weights`
/// [num_bins], or empty where bins weigh alike.
double Imbalance(Span2<const double> bins, std::span<const int32_t> slot_to_expert,
                 std::span<const double> shares, const Topology& topology,
                 std::span<const double> bin_weights, ScoreWorkspace& workspace);

/// The same where a rank costs by `cost` and its speed, with bins that weigh alike: Imbalance()
/// where that is tokens, else the sum over the bins of the largest rank cost by the sum of what no
/// placement is below, all ranks together taking their tokens, and each expert that has any once. A
/// slot is active where it takes tokens. A row stands for so many bins, whose tokens it sums, as
/// `bin_weights` [num_bins] says, or, without any, for one.
double CostImbalance(Span2<const double> bins, std::span<const int32_t> slot_to_expert,
                     std::span<const double> shares, const Topology& topology, const RankCost& cost,
                     ScoreWorkspace& workspace, std::span<const double> bin_weights = {});

}  // namespace steelyard
