// A clock for tests of deadlines.
#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "steelyard/base/clock.h"

namespace steelyard {

/// Stands still until so many threads have looked at it since Arm(); then all time is over. A rank
/// looks when it begins to wait, so a deadline passes exactly when every rank that will come has
/// come.
class WaitersClock : public Clock {
 public:
  void Arm(size_t num_waiters) {
    const std::lock_guard<std::mutex> lock(mutex_);
    num_waiters_ = num_waiters;
  }
  TimePoint Now() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (num_waiters_ == 0) return TimePoint(Duration(1));
    const std::thread::id me = std::this_thread::get_id();
    if (std::find(seen_.begin(), seen_.end(), me) == seen_.end()) seen_.push_back(me);
    return seen_.size() >= num_waiters_ ? TimePoint(std::chrono::hours(1)) : TimePoint(Duration(1));
  }

 private:
  mutable std::mutex mutex_;
  size_t num_waiters_ = 0;
  mutable std::vector<std::thread::id> seen_;
};

}  // namespace steelyard
