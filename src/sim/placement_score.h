// How level a placement is on a window, bin by bin, and what a rank receives to get there.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/score.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

/// Memory that scoring grows on first use. Not for use by two threads at once.
class PlacementScorer {
 public:
  /// Appends the imbalance of every layer and bin of `window` to `values` (layer by layer) and
  /// returns their mean. Requires: the placement has the window's layers and experts.
  double Score(const Placement& placement, const LoadWindow& window, std::vector<double>& values);

 private:
  ScoreWorkspace workspace_;
  std::vector<double> bins_;  // [num_bins, num_experts]
};

/// Moves from `from` to `to` that arrive at the rank with most of them, all layers together.
/// Requires: the same topology, layers and experts.
int64_t BusiestRankMoves(const Placement& from, const Placement& to);

/// Linear interpolation between the two values nearest to `fraction` of the way from the smallest
/// to the largest in order, as numpy.percentile() does. Requires: not empty, fraction in [0, 1].
double Quantile(std::vector<double> values, double fraction);

}  // namespace steelyard
