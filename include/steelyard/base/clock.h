// Time as a value that tests can replace: Clock, its manual twin, and Deadline.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace steelyard {

using Duration = std::chrono::nanoseconds;
/// Nanoseconds since an epoch of the clock's own; only differences mean anything.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// Safe to read from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;

  /// The monotonic clock of the system.
  static const Clock& System();
};

/// Stands still until it is told to advance.
class ManualClock : public Clock {
 public:
  TimePoint Now() const override {
    return TimePoint(Duration(nanos_.load(std::memory_order_acquire)));
  }
  void Advance(Duration by) { nanos_.fetch_add(by.count(), std::memory_order_acq_rel); }

 private:
  std::atomic<int64_t> nanos_{1};
};

/// A moment after which waiting ends. Copies are cheap; the clock must outlive every copy.
class Deadline {
 public:
  static Deadline After(Duration timeout, const Clock& clock = Clock::System()) {
    return Deadline(&clock, clock.Now() + timeout, timeout);
  }

  bool Expired() const { return clock_->Now() >= at_; }
  TimePoint at() const { return at_; }
  const Clock& clock() const { return *clock_; }
  /// Never negative.
  Duration Remaining() const {
    const Duration left = at_ - clock_->Now();
    return left.count() > 0 ? left : Duration::zero();
  }
  /// The timeout that the deadline was made from, for messages.
  Duration timeout() const { return timeout_; }

 private:
  Deadline(const Clock* clock, TimePoint at, Duration timeout)
      : clock_(clock), at_(at), timeout_(timeout) {}

  const Clock* clock_;
  TimePoint at_;
  Duration timeout_;
};

}  // namespace steelyard
