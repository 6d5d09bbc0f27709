// What a policy does wrong, and how each ends (I7, I8): the cycle is abandoned by all ranks, and
// the next one starts normally.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

#include "balance/test_host.h"
#include "balance/test_policies.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

class BalancerPolicy : public testing::TestWithParam<BalanceMode> {
 protected:
  BalancerPolicy() {
    options_.balancer = QuickOptions(GetParam());
    options_.clock = &clock_;
    options_.stop = AfterCycles(1);
  }

  // Rank 1's policies follow the script, the others plan as they should.
  void Script(const ScriptedPolicy::Script& script) {
    const ScriptedPolicy::Script as_it_should =
        [planned = num_planned_](int, Policy& inner, const PlanInput& input, PolicyState& state,
                                 const PlanContext& context) {
          Result<Plan> plan = inner.MakePlan(input, state, context);
          ++*planned;
          return plan;
        };
    options_.make_policy = [script, as_it_should](int rank) -> Result<std::unique_ptr<Policy>> {
      return std::unique_ptr<Policy>(
          std::make_unique<ScriptedPolicy>(rank == 1 ? script : as_it_should));
    };
  }

  void ExpectFirstAbandoned(const std::string& reason) {
    const std::vector<TestRankRun> runs = RunTestHost(options_);
    for (const TestRankRun& run : runs) {
      EXPECT_EQ(run.status.ToString(), "OK");
      EXPECT_EQ(run.metrics.cycles_abandoned, 1);
      EXPECT_GE(run.metrics.cycles_committed, 1);
      EXPECT_THAT(run.metrics.last_abandon_reason, HasSubstr(reason));
      EXPECT_FALSE(run.metrics.planning_stopped);
    }
    EXPECT_EQ(Disagreement(runs), "");
  }

  ManualClock clock_;
  TestHostOptions options_;
  // Plans that the ranks other than 1 have made.
  std::shared_ptr<std::atomic<int>> num_planned_ = std::make_shared<std::atomic<int>>(0);
};

using InnerPlan = Result<Plan>;

TEST_P(BalancerPolicy, ThatThrowsCostsOneCycle) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    if (call == 0) throw std::runtime_error("no idea");
    return inner.MakePlan(input, state, context);
  });
  ExpectFirstAbandoned("rank 1 objects: its plan failed");
}

TEST_P(BalancerPolicy, ThatThrowsNoExceptionCostsOneCycle) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    if (call == 0) throw 42;
    return inner.MakePlan(input, state, context);
  });
  ExpectFirstAbandoned("rank 1 objects: its plan failed");
}

TEST_P(BalancerPolicy, ThatFailsCostsOneCycle) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    if (call == 0) return Internal("no idea");
    return inner.MakePlan(input, state, context);
  });
  ExpectFirstAbandoned("rank 1 objects: its plan failed");
}

TEST_P(BalancerPolicy, ThatPlansForOtherRanksCostsOneCycle) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    InnerPlan plan = inner.MakePlan(input, state, context);
    if (call == 0) {
      plan->placement = Placement::Contiguous(Topology::Create(2, 8).value(), 2, 16).value();
    }
    return plan;
  });
  ExpectFirstAbandoned("rank 1 objects: its plan failed");
}

// It says the digest of the plan that the others made.
TEST_P(BalancerPolicy, ThatLiesOnOneRankMovesNothing) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    InnerPlan plan = inner.MakePlan(input, state, context);
    if (call == 0) plan->placement = *input.current;
    return plan;
  });
  ExpectFirstAbandoned("ranks made different plans");
}

// What a plan keeps is part of it: the next one would differ.
TEST_P(BalancerPolicy, WithAnotherDigestOnOneRankMovesNothing) {
  Script([](int call, Policy& inner, const PlanInput& input, PolicyState& state,
            const PlanContext& context) -> InnerPlan {
    InnerPlan plan = inner.MakePlan(input, state, context);
    if (call == 0) plan->digest ^= 1;
    return plan;
  });
  ExpectFirstAbandoned("ranks made different plans");
}

class BalancerHangingPolicy : public BalancerPolicy {
 protected:
  ~BalancerHangingPolicy() override { gate_->OpenAndWait(); }

  // The time of a cycle is over once rank 1's plan hangs and the others have theirs, and then that
  // of the worker to end as it was told.
  void PassTime(int rank, Balancer& balancer) {
    if (rank != 1) return;
    const int num_others = options_.num_ranks - 1;
    if (gate_->num_entered() > num_hung_ && *num_planned_ >= num_others * gate_->num_entered()) {
      num_hung_ = gate_->num_entered();
      clock_.Advance(options_.balancer.cycle_deadline);
    }
    if (balancer.metrics().cycles_abandoned > num_abandoned_) {
      ++num_abandoned_;
      clock_.Advance(options_.balancer.cycle_deadline / 4);
    }
  }

  std::shared_ptr<HangingGate> gate_ = std::make_shared<HangingGate>();
  int num_hung_ = 0;
  int num_abandoned_ = 0;
};

TEST_P(BalancerHangingPolicy, ThatObeysItsCancelFlagCostsOneCycleAndKeepsItsWorker) {
  Script([gate = gate_](int call, Policy& inner, const PlanInput& input, PolicyState& state,
                        const PlanContext& context) -> InnerPlan {
    if (call > 0) return inner.MakePlan(input, state, context);
    gate->Hang(context.cancel);
    return Cancelled("told to stop");
  });
  options_.after_end_step = [this](int rank, Balancer& balancer) {
    // It gets all the time it needs to end.
    if (balancer.metrics().cycles_abandoned == 0) PassTime(rank, balancer);
  };
  ExpectFirstAbandoned("its plan was not ready in time");
}

TEST_P(BalancerHangingPolicy, ThatIgnoresItsCancelFlagIsReplaced) {
  const auto hung = std::make_shared<std::atomic<bool>>(false);
  Script([gate = gate_, hung](int, Policy& inner, const PlanInput& input, PolicyState& state,
                              const PlanContext& context) -> InnerPlan {
    if (!hung->exchange(true)) gate->Hang(nullptr);
    return inner.MakePlan(input, state, context);
  });
  options_.after_end_step = [this](int rank, Balancer& balancer) { PassTime(rank, balancer); };
  ExpectFirstAbandoned("its plan was not ready in time");
}

// The third cycle of rank 1 finds that two workers are gone: all ranks stop by its vote.
TEST_P(BalancerHangingPolicy, ThatHangsTwiceStopsPlanningOnAllRanks) {
  Script([gate = gate_](int, Policy& inner, const PlanInput& input, PolicyState& state,
                        const PlanContext& context) -> InnerPlan {
    gate->Hang(nullptr);
    return inner.MakePlan(input, state, context);
  });
  options_.after_end_step = [this](int rank, Balancer& balancer) { PassTime(rank, balancer); };
  options_.stop = [](const Balancer& balancer) {
    return balancer.metrics().planning_stopped && balancer.metrics().windows_without_cycle >= 9;
  };
  testing::internal::CaptureStderr();
  const std::vector<TestRankRun> runs = RunTestHost(options_);
  const std::string logged = testing::internal::GetCapturedStderr();
  for (const TestRankRun& run : runs) {
    EXPECT_EQ(run.status.ToString(), "OK");
    EXPECT_EQ(run.metrics.cycles_started, 3);
    EXPECT_EQ(run.metrics.cycles_abandoned, 3);
    EXPECT_THAT(run.metrics.last_abandon_reason,
                HasSubstr("rank 1 objects: two of its planning workers did not end"));
  }
  EXPECT_EQ(Disagreement(runs), "");
  EXPECT_EQ(gate_->num_entered(), 2);
  EXPECT_THAT(logged, HasSubstr("no cycle committed or kept for 8 windows; last reason: rank 1"));
}

std::string ModeName(const testing::TestParamInfo<BalanceMode>& info) {
  return std::string(BalanceModeName(info.param));
}
INSTANTIATE_TEST_SUITE_P(Modes, BalancerPolicy,
                         testing::Values(BalanceMode::kAsync, BalanceMode::kSync), ModeName);
INSTANTIATE_TEST_SUITE_P(Modes, BalancerHangingPolicy, testing::Values(BalanceMode::kAsync),
                         ModeName);

}  // namespace
}  // namespace steelyard
