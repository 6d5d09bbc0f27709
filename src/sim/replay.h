// Recorded loads through a policy, as if the model had served them: plan on the windows so far,
// score on the next one (docs/replay.md).
//
// What a replay gives depends on its arguments alone, but for times, which come from the Clock that
// is passed in. One replay uses one thread and the executor's; several may run at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/clock.h"
#include "steelyard/base/executor.h"
#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// The name, in a replay, of `steelyard` planning on the window it is scored on and nothing else,
/// bins alike: what is left above 1 is then search, and what others have on top is forecast error.
inline constexpr std::string_view kClairvoyant = "clairvoyant";

/// Every policy that a comparison should have, in the order that reports show them.
std::vector<std::string> AllReplayPolicies();
/// Those, every other policy there is, and kClairvoyant.
bool IsReplayPolicy(std::string_view name);

/// Windows of `bins_per_window` bins each, in order; the bins left over are dropped.
/// Fails with kInvalidArgument when bins_per_window is below 1 or the trace has not two windows.
Result<std::vector<LoadWindow>> CutWindows(const LoadWindow& trace, int bins_per_window);

struct ReplayInput {
  std::span<const LoadWindow> windows = {};  // at least two, of one shape
  const Placement* start = nullptr;          // in force before window 0
  PlanOptions plan = {};  // its limits bind `steelyard` alone: the others know none
  /// Layers whose plan the policy itself does not want applied keep what is in force.
  bool gated = false;
};

struct ReplayContext {
  Executor* executor = &Executor::Inline();
  const Clock* clock = &Clock::System();
  const CancelFlag* cancel = nullptr;  // polled by every plan; may be null
  /// Called after planning on each window with the placement now in force; a failure ends the
  /// replay. May be empty.
  std::function<Status(int window_idx, const Placement& in_force)> after_plan = {};
};

/// One plan, made when window t had ended, and how it fared.
struct ReplayCycle {
  double imbalance_plan = 1.0;  // on window t, mean over its bins and layers
  double imbalance_next = 1.0;  // on window t + 1, the same
  int64_t moves = 0;
  int64_t busiest_rank_moves = 0;  // of the rank that receives most, over all layers
  int duplicates = 0;              // in the placement now in force, over all layers
  double plan_ms = 0.0;            // of the policy's call
};

/// Imbalance is that of one bin and layer, largest by mean rank load (1 where there is no load),
/// a rank's load being its tokens by its speed.
struct PolicyReplay {
  std::string policy;
  double imbalance_plan = 1.0;      // mean over cycles, the bins of window t and layers
  double imbalance_next = 1.0;      // mean over cycles, the bins of window t + 1 and layers
  double imbalance_next_p95 = 1.0;  // 95th percentile of the same values, interpolated linearly
  int64_t first_moves = 0;          // of cycle 0
  int64_t moves = 0;                // of all later cycles
  double moves_per_cycle = 0.0;     // mean over those; 0 where there are none
  double plan_ms = 0.0;             // median over later cycles; of cycle 0 where there are none
  int duplicates = 0;               // the most that a placement in force had
  std::vector<ReplayCycle> cycles;  // [windows - 1]
};

/// Plans with `policy` after each window but the last, keeping the policy's state from plan to
/// plan, and scores each placement on the window after. Fails with kInvalidArgument for a name that
/// IsReplayPolicy() does not know, and as Policy::MakePlan() does, naming policy and window.
Result<PolicyReplay> ReplayPolicy(std::string_view policy, const ReplayInput& input,
                                  const ReplayContext& context = {});

}  // namespace steelyard
