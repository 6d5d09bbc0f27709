// What the transport does wrong, and how each ends (I7): a cycle abandoned by all ranks, the tables
// in force as they were, the next cycle committed; or, where a peer is lost, the run in time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "balance/test_host.h"

namespace steelyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = SliceFault::Kind;

struct Faulty {
  explicit Faulty(BalanceMode mode) {
    options.balancer = QuickOptions(mode);
    options.faults.resize(options.num_ranks);
    options.clock = &clock;
    options.stop = AfterCycles(1);
    options.on_ends = [this](const auto& given) {
      for (const auto& end : given) ends.push_back(end.get());
    };
  }

  void AddToAll(const SliceFault& fault) {
    for (FaultPlan& plan : options.faults) plan.slices.push_back(fault);
  }

  int64_t NumInjected(Kind kind) const {
    int64_t sum = 0;
    for (const FaultyCommunicator* end : ends) sum += end->num_injected(kind);
    return sum;
  }

  // Once a slice has met the fault, the cycle's time is over.
  void ExpireCycleOnceInjected(Kind kind) {
    options.after_end_step = [this, kind, expired = false](int rank, Balancer&) mutable {
      if (rank != 0 || expired || NumInjected(kind) == 0) return;
      clock.Advance(options.balancer.cycle_deadline);
      expired = true;
    };
  }

  // The first cycle was abandoned for that reason, on all ranks, and a later one was committed.
  void ExpectOneAbandoned(const char* reason) {
    const std::vector<TestRankRun> runs = RunTestHost(options);
    for (const TestRankRun& run : runs) {
      EXPECT_EQ(run.status.ToString(), "OK");
      EXPECT_EQ(run.metrics.cycles_abandoned, 1);
      EXPECT_GE(run.metrics.cycles_committed, 1);
      EXPECT_THAT(run.metrics.last_abandon_reason, HasSubstr(reason));
    }
    EXPECT_EQ(Disagreement(runs), "");
  }

  ManualClock clock;
  TestHostOptions options;
  std::vector<FaultyCommunicator*> ends;
};

TEST(BalancerTransport, ALostSliceAbandonsTheCycleAndTheNextOneCommits) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.AddToAll({.kind = Kind::kLose, .cycle = 1});
  faulty.ExpireCycleOnceInjected(Kind::kLose);
  faulty.ExpectOneAbandoned("its transfers did not end in time");
}

TEST(BalancerTransport, ATruncatedSliceAbandonsTheCycle) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.AddToAll({.kind = Kind::kTruncate, .cycle = 1});
  faulty.ExpireCycleOnceInjected(Kind::kTruncate);
  faulty.ExpectOneAbandoned("its transfers did not end in time");
}

TEST(BalancerTransport, ACorruptedSliceAbandonsTheCycle) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.AddToAll({.kind = Kind::kCorrupt, .cycle = 1, .at_most = 1});
  faulty.ExpectOneAbandoned("its transfers failed");
}

TEST(BalancerTransport, ACorruptedSliceAbandonsTheCycleInModeSync) {
  Faulty faulty(BalanceMode::kSync);
  faulty.AddToAll({.kind = Kind::kCorrupt, .cycle = 1, .at_most = 1});
  faulty.ExpectOneAbandoned("its transfers failed");
}

TEST(BalancerTransport, ASliceThatComesTwiceChangesNothing) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.AddToAll({.kind = Kind::kDuplicate});
  faulty.options.stop = AfterCycles(3);
  const std::vector<TestRankRun> runs = RunTestHost(faulty.options);
  for (const TestRankRun& run : runs) EXPECT_EQ(run.status.ToString(), "OK");
  EXPECT_EQ(runs[0].metrics.cycles_abandoned, 0);
}

// The slices of cycle 1 arrive long after cycle 2 has used the same spare buffers: the host checks
// every slot's bytes in every later step.
TEST(BalancerTransport, ASliceDelayedPastTheNextCommitLandsNowhere) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.AddToAll({.kind = Kind::kDelay, .cycle = 1});
  bool expired = false;
  bool released = false;
  faulty.options.after_end_step = [&](int rank, Balancer& balancer) {
    if (rank != 0) return;
    if (!expired && faulty.NumInjected(Kind::kDelay) > 0) {
      faulty.clock.Advance(faulty.options.balancer.cycle_deadline);
      expired = true;
    }
    if (!released && balancer.metrics().cycles_committed > 0) {
      faulty.ends[0]->ReleaseHeldSlices();
      released = true;
    }
  };
  faulty.options.stop = AfterCycles(2);
  faulty.ExpectOneAbandoned("its transfers did not end in time");
  EXPECT_TRUE(released);
}

TEST(BalancerTransport, ALostGatherAbandonsTheCycleAndTheNextOneCommits) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.options.faults[1].lose_gathers = IdRange::Only(1);
  // Window 0 ends with step 7; long before window 1 ends its cycle's time is over.
  faulty.options.after_end_step = [&](int rank, Balancer& balancer) {
    if (rank == 0 && balancer.step() == 12) {
      faulty.clock.Advance(faulty.options.balancer.cycle_deadline);
    }
  };
  faulty.ExpectOneAbandoned("the loads of the window did not reach it");
}

// Nobody's time is over: that peers have gone on without the window is enough to know.
TEST(BalancerTransport, AWindowThatPeersHaveLostIsNotWaitedFor) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.options.faults[1].lose_gathers = IdRange::Only(1);
  const std::vector<TestRankRun> runs = RunTestHost(faulty.options);
  for (const TestRankRun& run : runs) {
    EXPECT_EQ(run.status.ToString(), "OK");
    EXPECT_EQ(run.metrics.windows_lost, 1);
  }
  EXPECT_EQ(runs[0].metrics.cycles_abandoned, 1);
}

// A window that no cycle waits for is lost: the ranks' histories are still the same.
TEST(BalancerTransport, ALostGatherInModeOffCostsItsWindowOnly) {
  Faulty faulty(BalanceMode::kOff);
  faulty.options.faults[1].lose_gathers = IdRange::Only(2);
  faulty.options.stop = [](const Balancer& balancer) { return balancer.step() >= 70; };
  const std::vector<TestRankRun> runs = RunTestHost(faulty.options);
  for (const TestRankRun& run : runs) {
    EXPECT_EQ(run.status.ToString(), "OK");
    EXPECT_EQ(run.metrics.windows_lost, 1);
    EXPECT_EQ(run.metrics.windows.size(), 7u);
  }
}

TEST(BalancerTransport, LateVotesAndGathersOnlyTakeLonger) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.options.faults[2].delay_votes = IdRange::From(1);
  faulty.options.faults[3].delay_gathers = IdRange::From(1);
  faulty.options.faults[3].delay_exchanges = 3;
  faulty.options.stop = AfterCycles(3);
  const std::vector<TestRankRun> runs = RunTestHost(faulty.options);
  for (const TestRankRun& run : runs) EXPECT_EQ(run.status.ToString(), "OK");
  EXPECT_EQ(Disagreement(runs), "");
  EXPECT_EQ(runs[0].metrics.cycles_abandoned, 0);
}

TEST(BalancerTransport, ASlowRankOnlyTakesLonger) {
  Faulty faulty(BalanceMode::kAsync);
  faulty.options.faults[1].before_exchange = [](uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  const std::vector<TestRankRun> runs = RunTestHost(faulty.options);
  for (const TestRankRun& run : runs) EXPECT_EQ(run.status.ToString(), "OK");
  EXPECT_EQ(Disagreement(runs), "");
  EXPECT_EQ(runs[0].metrics.cycles_abandoned, 0);
}

// Lets all time pass from when `ready` holds until the run has ended.
std::vector<TestRankRun> RunUntilTimeIsOver(TestHostOptions& options, ManualClock& clock,
                                            const std::function<bool()>& ready) {
  std::atomic<bool> ended{false};
  std::thread time([&] {
    while (!ended) {
      if (ready()) clock.Advance(std::chrono::hours(1));
      std::this_thread::yield();
    }
  });
  std::vector<TestRankRun> runs = RunTestHost(options);
  ended = true;
  time.join();
  return runs;
}

void ExpectLostVoteEndsTheRun(BalanceMode mode, uint64_t vote_id, int64_t step) {
  Faulty faulty(mode);
  faulty.options.faults[1].lose_votes = IdRange::From(vote_id);
  std::atomic<int> num_there{0};
  faulty.options.before_end_step = [&](int, Balancer& balancer) {
    if (balancer.step() == step) ++num_there;
  };
  const auto runs = RunUntilTimeIsOver(faulty.options, faulty.clock,
                                       [&] { return num_there == faulty.options.num_ranks; });
  for (size_t rank = 0; rank < runs.size(); ++rank) {
    const std::string place =
        "rank " + std::to_string(rank) + ", step " + std::to_string(step) + ": ";
    EXPECT_THAT(runs[rank].status.message(),
                AllOf(HasSubstr(place), HasSubstr("no result of vote " + std::to_string(vote_id))));
    EXPECT_EQ(runs[rank].metrics.cycles_committed, 0);
  }
}

// Window 0 ends with step 7: vote 1 is started there, vote 2 in step 8 and used in step 9.
TEST(BalancerTransport, ALostVoteEndsTheRunOnEveryRankInTime) {
  ExpectLostVoteEndsTheRun(BalanceMode::kAsync, 2, 9);
}

TEST(BalancerTransport, ALostVoteEndsTheRunOnEveryRankInTimeInModeSync) {
  ExpectLostVoteEndsTheRun(BalanceMode::kSync, 1, 7);
}

TEST(BalancerTransport, ALostTokenMessageEndsTheRunOnEveryRankInTime) {
  Faulty faulty(BalanceMode::kAsync);
  ManualClock exchange_clock;
  faulty.options.exchange_clock = &exchange_clock;
  std::atomic<bool> missing{false};
  faulty.options.faults[2].miss_exchanges = IdRange::From(10);
  faulty.options.faults[2].before_exchange = [&](uint64_t idx) { missing = missing || idx == 10; };
  const auto runs =
      RunUntilTimeIsOver(faulty.options, exchange_clock, [&] { return bool{missing}; });
  for (const TestRankRun& run : runs) {
    EXPECT_THAT(run.status.message(), HasSubstr("token exchange 10"));
  }
}

TEST(BalancerTransport, AGatherLostAtTheVeryEndIsToldInTime) {
  Faulty faulty(BalanceMode::kOff);
  faulty.options.faults[1].lose_gathers = IdRange::Only(2);
  faulty.options.stop = [](const Balancer& balancer) { return balancer.step() >= 10; };
  std::atomic<int> num_there{0};
  faulty.options.after_end_step = [&](int, Balancer& balancer) {
    if (balancer.step() == 10) ++num_there;
  };
  const auto runs =
      RunUntilTimeIsOver(faulty.options, faulty.clock, [&] { return num_there == 4; });
  EXPECT_THAT(runs[0].status.message(), HasSubstr("the last loads are lost"));
}

// In mode sync nobody waits alone for loads that do not come: the others' votes stay in time.
TEST(BalancerTransport, ALostGatherAbandonsTheCycleInModeSync) {
  Faulty faulty(BalanceMode::kSync);
  faulty.options.faults[1].lose_gathers = IdRange::Only(1);
  faulty.options.balancer.vote_deadline = std::chrono::hours(100000);
  std::atomic<int> num_there{0};
  std::atomic<bool> left{false};
  faulty.options.before_end_step = [&](int, Balancer& balancer) {
    if (balancer.step() == 7) ++num_there;
  };
  faulty.options.after_end_step = [&](int, Balancer& balancer) { left = balancer.step() >= 8; };
  const auto runs =
      RunUntilTimeIsOver(faulty.options, faulty.clock, [&] { return num_there == 4 && !left; });
  for (const TestRankRun& run : runs) {
    EXPECT_EQ(run.status.ToString(), "OK");
    EXPECT_GE(run.metrics.cycles_abandoned, 1);
    EXPECT_GE(run.metrics.cycles_committed, 1);
  }
  EXPECT_EQ(Disagreement(runs), "");
}

}  // namespace
}  // namespace steelyard
