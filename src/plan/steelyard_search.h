// The search of the `steelyard` policy on the loads summed over bins: a path of exchanges, cut
// where it was best.
#pragma once

#include "plan/steelyard_cooling.h"
#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_path.h"

namespace steelyard {

struct SearchOptions {
  double price = 0.0;          // of one move, in units of load
  double lower_bound = 0.0;    // no placement has a smaller objective; in units of load
  double settled_at = 0.0;     // a hottest rank of no more than this is cool enough
  double heaviest_copy = 0.0;  // experts whose copies are heavier are given more of them first
};

/// One object per worker. After Prepare() nothing allocates.
class PathSearch {
 public:
  void Prepare(const LayerShape& shape);

  /// First gives copies to experts that lack them (steelyard_repair.h), then cools the hottest rank
  /// (steelyard_cooling.h) until no exchange does or it is cool enough, and leaves
  /// `state` at the point of this path where objective + price x moves was least: where it was, if
  /// no point was better.
  void Run(const SearchOptions& options, LayerState& state);

 private:
  CoolingStepFinder cooling_;
  StepPath path_;
};

}  // namespace steelyard
