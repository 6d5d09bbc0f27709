// Brings the counts of all ranks together, window by window, and turns them into loads of experts.
//
// A gather runs in the background of the steps that follow its window. Its counts are read with the
// placement that was in force when the window ended, which is kept until then. A window whose
// counts do not come is lost, logged and counted; nothing else happens here (I7).
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
  /// is lost.
  void Start(int64_t window_idx, std::span<const uint32_t> counts, const Placement& in_force);

  /// The oldest window, if its counts are all there. Never waits.
  std::optional<GatheredWindow> Poll();
  /// The oldest window, waited for; nothing when it does not come in time (it may still come
  /// later), or there is none.
  std::optional<GatheredWindow> Wait(const Deadline& deadline);

  /// Some window up to `window_idx` is on its way.
  bool Awaits(int64_t window_idx) const {
    return !pending_.empty() && pending_.front().window_idx <= window_idx;
  }
  /// All windows up to `window_idx` that are on their way are lost.
  void GiveUp(int64_t window_idx, const Status& why);

  int64_t num_lost() const { return num_lost_; }
  /// Why the last one was lost; ok when none was.
  const Status& failure() const { return failure_; }

 private:
  struct Pending {
    int64_t window_idx;
    Placement placement;
  };

  void Lose(size_t place, const Status& why);
  GatheredWindow Decode(const Pending& pending) const;
  double DecodeLayer(const Pending& pending, int layer, GatheredWindow& window) const;

  Communicator* comm_;
  const PartShape shape_;
  const int window_steps_;
  std::vector<Pending> pending_;    // oldest first
  std::vector<uint32_t> gathered_;  // [num_ranks, num_counts]
  int64_t num_lost_ = 0;
  Status failure_;
};

}  // namespace steelyard
