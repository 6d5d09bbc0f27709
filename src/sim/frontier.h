// What less movement costs in balance: `steelyard` replayed at several prices.
#pragma once

#include <span>
#include <vector>

#include "sim/replay.h"

namespace steelyard {

struct FrontierPoint {
  double price = 0.0;
  double imbalance_next = 1.0;
  double imbalance_next_p95 = 1.0;
  int64_t first_moves = 0;
  int64_t moves = 0;  // of all cycles but the first, as in PolicyReplay
  double moves_per_cycle = 0.0;
};

/// One point for each price, in the order given; all else as `input` says. Fails as ReplayPolicy()
/// does, naming the price.
Result<std::vector<FrontierPoint>> ReplayFrontier(std::span<const double> prices,
                                                  const ReplayInput& input,
                                                  const ReplayContext& context = {});

}  // namespace steelyard
