#include "steelyard/base/clock.h"

#include <gtest/gtest.h>

namespace steelyard {
namespace {

using std::chrono::milliseconds;

TEST(Clock, TheSystemClockNeverRunsBackwards) {
  TimePoint last = Clock::System().Now();
  for (int i = 0; i < 1000; ++i) {
    const TimePoint now = Clock::System().Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ManualClock, StandsStillUntilItIsAdvanced) {
  ManualClock clock;
  const TimePoint start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(milliseconds(5));
  EXPECT_EQ(clock.Now() - start, milliseconds(5));
}

TEST(Deadline, ExpiresAtItsMomentAndNotBefore) {
  ManualClock clock;
  const Deadline deadline = Deadline::After(milliseconds(10), clock);
  EXPECT_EQ(deadline.timeout(), milliseconds(10));
  clock.Advance(milliseconds(10) - Duration(1));
  EXPECT_FALSE(deadline.Expired());
  EXPECT_EQ(deadline.Remaining(), Duration(1));
  clock.Advance(Duration(1));
  EXPECT_TRUE(deadline.Expired());
  EXPECT_EQ(deadline.Remaining(), Duration::zero());
}

TEST(Deadline, RemainingIsNeverNegative) {
  ManualClock clock;
  const Deadline deadline = Deadline::After(milliseconds(1), clock);
  clock.Advance(milliseconds(7));
  EXPECT_EQ(deadline.Remaining(), Duration::zero());
}

TEST(Deadline, ATimeoutOfZeroHasExpiredAtOnce) {
  ManualClock clock;
  EXPECT_TRUE(Deadline::After(Duration::zero(), clock).Expired());
}

}  // namespace
}  // namespace steelyard
