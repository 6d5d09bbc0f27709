// What the parts of an in-process group share: the flag that breaks it, and the one way to wait.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>

#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"

namespace steelyard::inproc {

/// Set once, by the first rank that fails or the first Abort(). Safe from any thread.
class BreakFlag {
 public:
  /// The first reason stays. Whoever sets it wakes every waiter afterwards.
  void Set(const Status& reason);
  bool IsSet() const { return is_set_.load(std::memory_order_seq_cst); }
  /// Requires: IsSet().
  Status reason() const;

 private:
  std::atomic<bool> is_set_{false};
  mutable std::mutex mutex_;
  Status reason_;
};

enum class WaitEnd { kReady, kBroken, kExpired };

/// Waits on `condition` until the group breaks, `ready()` holds or the deadline passes, looked at
/// in this order, and ready() only under the lock. A deadline of another clock than the system's
/// passes without waking anybody, so it is looked at again every millisecond.
template <typename Ready>
WaitEnd WaitFor(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                const Deadline& deadline, const BreakFlag& broken, Ready ready) {
  while (true) {
    if (broken.IsSet()) return WaitEnd::kBroken;
    if (ready()) return WaitEnd::kReady;
    if (deadline.Expired()) return WaitEnd::kExpired;
    if (&deadline.clock() == &Clock::System()) {
      condition.wait_until(lock, deadline.at());
    } else {
      condition.wait_for(lock, std::chrono::milliseconds(1));
    }
  }
}

/// "rank 2 waited 500 ms in token exchange 17 for rank 5: 6 of 8 ranks came"
Status Late(int rank, const std::string& phase, const Deadline& deadline, int missing_rank,
            int num_seen, int num_ranks);

}  // namespace steelyard::inproc
