// Brings the counts of all ranks together, window by window, and turns them into loads of experts.
//
// A gather runs in the background of the steps that follow its window. Its counts are read with the
// placement that was in force when the window ended, which is kept until then.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "balance/recorder.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct GatheredWindow {
  int64_t window_idx = 0;
  LoadWindow loads;  // [bins, phases, layers, experts] of the group
  WindowStats stats;
};

/// The first `num_bins` bins of a window.
LoadWindow FirstBins(const LoadWindow& window, int num_bins);

class WindowGather {
 public:
  /// `comm` must outlive it.
  WindowGather(Communicator* comm, const PartShape& shape, int window_steps);

  /// Starts to gather a window that has just ended. Where kMaxGathers are on their way the oldest
  /// is given up.
  Status Start(int64_t window_idx, std::span<const uint32_t> counts, const Placement& in_force);

  /// The oldest window whose counts are all there; nothing when there is none yet. Never waits.
  Result<std::optional<GatheredWindow>> Poll();
  /// The oldest window on its way, waited for; nothing when there is none.
  Result<std::optional<GatheredWindow>> Wait(const Deadline& deadline);

 private:
  struct Pending {
    int64_t window_idx;
    Placement placement;
  };

  Result<std::optional<GatheredWindow>> TakeOldest(const Deadline& deadline);
  GatheredWindow Decode(const Pending& pending) const;

  Communicator* comm_;
  const PartShape shape_;
  const int window_steps_;
  std::vector<Pending> pending_;    // oldest first
  std::vector<uint32_t> gathered_;  // [num_ranks, num_counts]
};

}  // namespace steelyard
