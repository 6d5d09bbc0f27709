// When the `flashlb` policy plans a layer, and what it says of it.
#include "plan/flashlb_policy.h"

#include <gtest/gtest.h>

#include <vector>

#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

/// One bin of one layer.
LoadWindow Window(std::vector<double> tokens) {
  const auto num_experts = static_cast<int>(tokens.size());
  return LoadWindow::Create({1, 1, 1, num_experts}, std::move(tokens)).value();
}

/// Two ranks with two experts each.
class FlashlbPolicy : public testing::Test {
 protected:
  Plan MakePlan(const LoadWindow& window) { return MakePlan(std::vector{window}); }
  Plan MakePlan(const std::vector<LoadWindow>& history) {
    return policy_->MakePlan({.current = &current_, .history = history}, state_, {}).value();
  }

  Placement current_ = Placement::Contiguous(Topology::Create(2, 2).value(), 1, 4).value();
  PolicyState state_;
  std::unique_ptr<Policy> policy_ = MakeFlashlbPolicy();
};

TEST_F(FlashlbPolicy, TheFirstPlanTakesEveryLayerAndItsBalanceIsTheState) {
  const Plan plan = MakePlan(Window({39, 29, 19, 9}));
  EXPECT_EQ(plan.layers[0].verdict, LayerVerdict::kChanged);
  EXPECT_TRUE(plan.layers[0].from_scratch);
  EXPECT_TRUE(plan.layers[0].wanted);
  EXPECT_EQ(plan.moves, 2);
  EXPECT_EQ(state_.values, std::vector<double>{1.0});  // 40 + 10 against 30 + 20
}

TEST_F(FlashlbPolicy, ALayerThatItsPlanDoesNotBetterIsNotWanted) {
  const Plan plan = MakePlan(Window({9, 9, 9, 9}));
  EXPECT_FALSE(plan.layers[0].wanted);
  EXPECT_EQ(state_.values, std::vector<double>{1.0});
}

// 100 tokens with the one that every expert has more; the mean rank load is 50.
TEST_F(FlashlbPolicy, ALayerIsPlannedAgainOnceItsBalanceIsBelowAShareOfWhatWasPlanned) {
  state_.values = {1.0};
  const Plan kept = MakePlan(Window({50, 0, 46, 0}));  // 50 / 52 > 0.95
  EXPECT_EQ(kept.layers[0].verdict, LayerVerdict::kKeptByPolicy);
  EXPECT_FALSE(kept.layers[0].wanted);
  EXPECT_EQ(kept.moves, 0);
  EXPECT_EQ(state_.values, std::vector<double>{1.0});

  const Plan changed = MakePlan(Window({29, 23, 23, 21}));  // 50 / 54 < 0.95
  EXPECT_EQ(changed.layers[0].verdict, LayerVerdict::kChanged);
}

TEST_F(FlashlbPolicy, ALayerIsPlannedAgainOnceItsBalanceIsBelowAValueWhateverWasPlanned) {
  state_.values = {0.5};
  EXPECT_EQ(MakePlan(Window({33, 20, 23, 20})).moves, 0);  // 50 / 55 > 0.9
  EXPECT_EQ(state_.values, std::vector<double>{0.5});
  EXPECT_EQ(MakePlan(Window({29, 26, 21, 20})).moves, 2);  // 50 / 57 < 0.9
  EXPECT_GT(state_.values[0], 0.9);
}

// 32 ranks of one expert each: the hottest has its share of the mean, whatever the plan.
TEST_F(FlashlbPolicy, ManyRanksAreAllowedToLoseMoreBalance) {
  current_ = Placement::Contiguous(Topology::Create(32, 1).value(), 1, 32).value();
  std::vector<double> tokens(32, 99.0);
  tokens[7] = 113.0;
  state_.values = {0.97};
  MakePlan(Window(tokens));  // 0.881, more than 0.9 x 0.97 and than 0.85
  EXPECT_EQ(state_.values, std::vector<double>{0.97});
  tokens[7] = 115.0;
  MakePlan(Window(tokens));  // 0.866
  EXPECT_NEAR(state_.values[0], 0.866, 0.001);
  state_.values = {0.5};
  MakePlan(Window(tokens));
  EXPECT_EQ(state_.values, std::vector<double>{0.5});
}

TEST_F(FlashlbPolicy, OnlyTheLastWindowIsSeen) {
  const LoadWindow last = Window({39, 29, 19, 9});
  const Plan alone = MakePlan(last);
  state_ = {};
  EXPECT_EQ(MakePlan({Window({0, 0, 900, 800}), last}).digest, alone.digest);
}

TEST_F(FlashlbPolicy, TheStateOfAnotherModelIsNone) {
  state_.values = {1.0, 1.0};
  EXPECT_EQ(MakePlan(Window({11, 9, 9, 9})).moves, 2);
  EXPECT_EQ(state_.values.size(), 1U);
}

TEST_F(FlashlbPolicy, ACancelledPlanLeavesTheStateAsItWas) {
  CancelFlag cancel;
  cancel.Cancel();
  const LoadWindow window = Window({39, 29, 19, 9});
  const Result<Plan> plan = policy_->MakePlan({.current = &current_, .history = {&window, 1}},
                                              state_, {.cancel = &cancel});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(state_.values.empty());
}

}  // namespace
}  // namespace steelyard
