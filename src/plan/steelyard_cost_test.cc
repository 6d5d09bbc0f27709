// The search and the plans where a rank's cost is not its tokens alone.
#include <gtest/gtest.h>

#include <algorithm>

#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

constexpr RankCost kActive = {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0};

Result<Plan> PlanCosted(const std::vector<double>& loads, const Topology& topology,
                        const std::vector<int32_t>& slots, const PlanOptions& options,
                        int num_bins = 1) {
  const auto num_experts = static_cast<int>(loads.size()) / num_bins;
  const Placement current =
      Placement::Create(topology, num_experts, slots, DuplicateRule::kRefuse).value();
  const LoadWindow window =
      LoadWindow::Create(
          {.num_bins = num_bins, .num_phases = 1, .num_layers = 1, .num_experts = num_experts},
          loads)
          .value();
  PolicyState state;
  return MakePolicy("steelyard")
      .value()
      ->MakePlan({.current = &current, .history = {&window, 1}, .options = options}, state, {});
}

TEST(CostedPlan, LevelsActiveExpertsWhereTheyAreWhatCosts) {
  // Experts 0 to 3 are active, 4 to 7 are not. Tokens are level, active experts are not: 3 and 1.
  const std::vector<double> loads = {1, 1, 1, 3, 0, 0, 0, 0};
  const Topology topology = Topology::Create(2, 4).value();
  const std::vector<int32_t> slots = {1, 0, 2, 4, 3, 5, 6, 7};
  PlanOptions options = {.price = 0.1, .predictor = Predictor::kLast};
  EXPECT_EQ(PlanCosted(loads, topology, slots, options)->moves, 0);
  options.rank_cost = kActive;
  const Result<Plan> plan = PlanCosted(loads, topology, slots, options);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->imbalance_before(), 1.5);
  EXPECT_EQ(plan->imbalance_after(), 1.0);
  EXPECT_EQ(plan->moves, 2);
}

TEST(CostedPlan, TakesACopyAwayWhereActiveExpertsCost) {
  // Rank 0 has two active experts, rank 1 one: expert 2 has no tokens. A copy of it on rank 0 in
  // place of expert 0 leaves one active expert on each.
  const Result<Plan> plan =
      PlanCosted({4, 4, 0}, Topology::Create(2, 2).value(), {1, 0, 0, 2},
                 {.price = 0.1, .predictor = Predictor::kLast, .rank_cost = kActive});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->imbalance_before(), 2.0);
  EXPECT_EQ(plan->imbalance_after(), 1.0);
}

// Three idle bins beside a busy one say nothing of what a busy one costs.
TEST(CostedPlan, IdleBinsChangeNothing) {
  const std::vector<double> busy = {310, 40, 90, 150, 20, 60, 240, 80, 30, 110, 50, 70};
  const Topology topology = Topology::Create(4, 4).value();
  const std::vector<int32_t> slots = {1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3};
  for (const SplitRule split : {SplitRule::kEven, SplitRule::kWeighted}) {
    const PlanOptions options = {.price = 0.0,
                                 .predictor = Predictor::kLast,
                                 .split = split,
                                 .rank_cost = {.a = 0.0, .b = 60.0, .c = 0.0, .d = 2.0}};
    std::vector<double> loads(36, 0.0);
    loads.insert(loads.end(), busy.begin(), busy.end());
    const Result<Plan> beside_idle = PlanCosted(loads, topology, slots, options, 4);
    const Result<Plan> alone = PlanCosted(busy, topology, slots, options);
    ASSERT_TRUE(alone.ok() && beside_idle.ok());
    EXPECT_GT(alone->moves, 0);
    EXPECT_TRUE(std::ranges::equal(beside_idle->placement.slot_to_expert(),
                                   alone->placement.slot_to_expert()));
  }
}

TEST(CostedPlan, SharesLowerTheCostOfWhatIsHeld) {
  // Experts 0 1 | 2 0: an even split of expert 0 leaves 10 tokens and 6.
  const Result<Plan> plan = PlanCosted({8, 6, 2}, Topology::Create(2, 2).value(), {0, 1, 2, 0},
                                       {.price = 0.1,
                                        .predictor = Predictor::kLast,
                                        .split = SplitRule::kWeighted,
                                        .rank_cost = {.a = 1.0, .b = 2.0, .c = 1.0, .d = 1.0}});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->moves, 0);
  EXPECT_EQ(plan->imbalance_before(), 11.0 / 9.0);
  EXPECT_NEAR(plan->imbalance_after(), 1.0, 1e-9);
  EXPECT_NEAR(plan->placement.shares(0)[0], 0.25, 1e-9);
}

TEST(CostedPlan, WithSharesMovesWhereActiveExpertsCost) {
  // Shares level tokens, but rank 0 has three active experts and rank 1 one.
  const Result<Plan> plan = PlanCosted({1, 1, 1, 3, 0, 0, 0, 0}, Topology::Create(2, 5).value(),
                                       {1, 0, 2, 4, 3, 3, 5, 6, 7, 4},
                                       {.price = 0.1,
                                        .predictor = Predictor::kLast,
                                        .split = SplitRule::kWeighted,
                                        .rank_cost = {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0}});
  ASSERT_TRUE(plan.ok());
  EXPECT_GT(plan->moves, 0);
  EXPECT_EQ(plan->imbalance_before(), 4.0 / 2.0);
  EXPECT_EQ(plan->imbalance_after(), 1.0);
}

}  // namespace
}  // namespace steelyard
