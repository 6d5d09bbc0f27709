// Whether balancing pays: imbalance turned into time saved, moves into time spent (docs/replay.md).
//
// In a step the MoE part waits for the hottest rank, so its time is proportional to imbalance. What
// is saved is against the placement in force before the first window, kept for ever. What is spent
// is the time that the link of the rank that receives most is busy: as if none of it were hidden.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/replay.h"

namespace steelyard {

struct CostModel {
  int64_t expert_bytes = 0;      // weights of one expert of one layer
  double link_gbps = 0.0;        // gigabits per second into a rank
  double step_ms = 0.0;          // MoE part of a step, all layers, with the placement at the start
  double tokens_per_step = 0.0;  // of all ranks together
  double top_k = 1.0;            // experts per token: recorded loads count (token, expert) pairs

  /// Fails with kInvalidArgument naming the field unless all are finite and positive.
  Status Validate() const;
};

/// Sums and means over the cycles of a replay, in milliseconds.
struct PolicyCost {
  double steps_per_window = 0.0;     // mean over the windows scored
  double saved_ms_per_window = 0.0;  // mean; below 0 where the policy made it worse
  double spent_ms_per_window = 0.0;  // mean over all cycles but the first
  double first_spent_ms = 0.0;       // to get away from the placement at the start, once
  double net_ms = 0.0;               // all saved less all spent, the first cycle included
  double net_percent = 0.0;          // of the time that the MoE parts would have taken
  /// Steps that a window must have for what is saved to be more than what a later cycle spends;
  /// infinite where nothing is saved.
  double break_even_steps = 0.0;
  bool pays = false;  // net_ms > 0
};

/// What each of `replays` of these windows from this start would have cost and saved.
/// Fails as CostModel::Validate() does.
Result<std::vector<PolicyCost>> CostsOf(std::span<const PolicyReplay> replays,
                                        const ReplayInput& input, const CostModel& model);

}  // namespace steelyard
