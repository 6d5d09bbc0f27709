// Limits on moves in a live run: no cycle goes beyond them, whoever plans.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "balance/plan_worker.h"
#include "balance/test_host.h"
#include "balance/test_policies.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

class BalancerLimits : public testing::TestWithParam<BalanceMode> {
 protected:
  BalancerLimits() {
    options_.balancer = QuickOptions(GetParam());
    options_.balancer.plan.price = 0.0;
    options_.drift_steps = 16;
    options_.stop = AfterCycles(5);
    options_.after_end_step = [this](int rank, Balancer& balancer) {
      const BalancerMetrics& metrics = balancer.metrics();
      const int64_t num_ended = metrics.cycles_committed + metrics.cycles_kept;
      if (rank == 0) moves_.try_emplace(num_ended, metrics.moves);
    };
  }

  // The most that one cycle moved.
  int64_t MostMoves() {
    const std::vector<TestRankRun> runs = RunTestHost(options_);
    for (const TestRankRun& run : runs) EXPECT_EQ(run.status.ToString(), "OK");
    EXPECT_EQ(runs[0].metrics.cycles_abandoned, 0);
    int64_t most = 0;
    int64_t before = 0;
    for (const auto& [cycle, moves] : moves_) {
      most = std::max(most, moves - before);
      before = moves;
    }
    return most;
  }

  TestHostOptions options_;
  std::map<int64_t, int64_t> moves_;  // in all cycles until one ended, by how many had
};

TEST_P(BalancerLimits, WithoutAnyACycleMovesMore) { EXPECT_GT(MostMoves(), 3); }

TEST_P(BalancerLimits, NoCycleMovesMoreThanTheLimit) {
  options_.balancer.plan.limits.moves = 3;
  EXPECT_EQ(MostMoves(), 3);
}

TEST_P(BalancerLimits, BytesAreThoseOfTheStore) {
  options_.balancer.plan.limits.bytes = static_cast<int64_t>(3 * options_.bundle_bytes) - 1;
  EXPECT_EQ(MostMoves(), 2);
}

INSTANTIATE_TEST_SUITE_P(Modes, BalancerLimits,
                         testing::Values(BalanceMode::kSync, BalanceMode::kAsync),
                         [](const auto& mode) { return std::string(BalanceModeName(mode.param)); });

PlanJob JobWithin(const MoveLimits& limits) {
  const Placement current = Placement::Contiguous(Topology::Create(2, 4).value(), 1, 8).value();
  const auto loads = std::make_shared<const LoadWindow>(
      LoadWindow::Create({1, 1, 1, 8}, {90, 80, 70, 60, 1, 1, 1, 1}).value());
  PlanOptions options;
  options.limits = limits;
  options.expert_bytes = 10;
  return PlanJob{current, {loads}, options, PolicyState(), 1};
}

// Plans as if there were no limits.
std::unique_ptr<Policy> Careless() {
  return std::make_unique<ScriptedPolicy>([](int, Policy& inner, const PlanInput& input,
                                             PolicyState& state, const PlanContext& context) {
    PlanInput unlimited = input;
    unlimited.options.limits = {};
    return inner.MakePlan(unlimited, state, context);
  });
}

TEST(PlanLimits, APolicyThatPlansMoreMovesHasFailed) {
  const std::unique_ptr<Policy> policy = Careless();
  ASSERT_GT(MakePlanOutcome(*policy, JobWithin({}), nullptr)->migration.num_arrivals, 2);
  const std::pair<MoveLimits, const char*> rows[] = {
      {{.moves = 2}, "moves, more than the limits allow"},
      {{.bytes = 29}, "moves, more than the limits allow"},
      {{.per_receiving_rank = 1}, "more moves to rank 0 in layer 0 than the 1 that"}};
  for (const auto& [limits, message] : rows) {
    const Result<PlanOutcome> outcome = MakePlanOutcome(*policy, JobWithin(limits), nullptr);
    ASSERT_FALSE(outcome.ok()) << message;
    EXPECT_THAT(outcome.status().message(), HasSubstr(message));
  }
}

TEST(PlanLimits, TransfersKeepToWhatAPairOfRanksMayCarry) {
  const std::unique_ptr<Policy> policy = Careless();
  const Result<PlanOutcome> outcome =
      MakePlanOutcome(*policy, JobWithin({.per_rank_pair = 1}), nullptr);
  ASSERT_TRUE(outcome.ok()) << outcome.status().message();
  EXPECT_EQ(outcome->migration.num_arrivals, 2) << "one from each rank to the other";
}

}  // namespace
}  // namespace steelyard
