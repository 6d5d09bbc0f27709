// What all policies share: the door, the names, the words of a report, the digest.
#include "steelyard/plan/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace steelyard {
namespace {

using testing::HasSubstr;

TEST(MakePolicy, AnUnknownNameIsRefusedWithTheList) {
  const Result<std::unique_ptr<Policy>> policy = MakePolicy("greedy");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(
      policy.status().message(),
      "policy 'greedy' is not one of steelyard, deepseek, vllm, swift, flashlb, random, static");
}

TEST(MakePolicy, EveryPolicyHasTheNameThatItIsMadeBy) {
  for (std::string_view name : PolicyNames()) {
    EXPECT_EQ(MakePolicy(name).value()->name(), name);
  }
}

struct BadOption {
  std::function<void(PlanOptions&)> spoil;
  const char* message;
};

TEST(PlanOptions, EachFieldOutOfRangeIsNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<BadOption> rows = {
      {[](PlanOptions& o) { o.num_groups = 0; }, "num_groups is 0, but must be at least 1"},
      {[](PlanOptions& o) { o.price = -1; }, "price is -1, but must be finite and at least 0"},
      {[nan](PlanOptions& o) { o.price = nan; }, "price is nan, but must be finite"},
      {[](PlanOptions& o) { o.gate = -0.5; }, "gate is -0.5, but must be finite and at least 0"},
      {[](PlanOptions& o) { o.recency = 0; }, "recency is 0, but must be in (0, 1]"},
      {[](PlanOptions& o) { o.recency = 1.5; }, "recency is 1.5, but must be in (0, 1]"},
  };
  for (const BadOption& row : rows) {
    PlanOptions options;
    row.spoil(options);
    const Status status = options.Validate();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(row.message));
  }
  EXPECT_TRUE(PlanOptions{}.Validate().ok());
}

class PlanInputTest : public testing::TestWithParam<std::string_view> {
 protected:
  std::string MessageOf(const PlanInput& input) {
    PolicyState state;
    const Result<Plan> plan = MakePolicy(GetParam()).value()->MakePlan(input, state, {});
    return plan.ok() ? "a plan" : plan.status().message();
  }

  const Placement current_ = Placement::Contiguous(Topology::Create(2, 3).value(), 2, 4).value();
  const LoadWindow window_{{.num_bins = 2, .num_phases = 1, .num_layers = 2, .num_experts = 4}};
};

TEST_P(PlanInputTest, WhatDisagreesIsNamed) {
  const LoadWindow narrow({.num_bins = 2, .num_phases = 1, .num_layers = 2, .num_experts = 3});
  const std::vector<LoadWindow> mixed = {narrow, window_};
  const Placement too_many =
      Placement::Create(Topology::Create(1, 3).value(), 2, {0, 1, 1}, DuplicateRule::kAllow)
          .value();
  const LoadWindow small({.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 2});
  EXPECT_THAT(MessageOf({.history = {&window_, 1}}), HasSubstr("needs the placement in force"));
  EXPECT_THAT(MessageOf({.current = &current_}), HasSubstr("at least one window"));
  EXPECT_THAT(MessageOf({.current = &current_, .history = {&narrow, 1}}),
              HasSubstr("loads are of 2 layers x 3 experts, but the placement is of 2 x 4"));
  EXPECT_THAT(MessageOf({.current = &current_, .history = mixed}),
              HasSubstr("window 0 of the history is 2 bins x 1 phases x 2 layers x 3 experts, but "
                        "the last one is 2 bins x 1 phases x 2 layers x 4 experts"));
  EXPECT_THAT(MessageOf({.current = &too_many, .history = {&small, 1}}),
              HasSubstr("3 slots on a rank are more than 2 experts"));
  PlanInput bad_price{.current = &current_, .history = {&window_, 1}};
  bad_price.options.price = -1;
  EXPECT_THAT(MessageOf(bad_price), HasSubstr("price is -1"));
}

TEST_P(PlanInputTest, ACancelledPlanIsNoPlanAndLeavesTheStateAlone) {
  CancelFlag cancel;
  cancel.Cancel();
  PolicyState state{.values = {3.0}};
  const PlanInput input{.current = &current_, .history = {&window_, 1}};
  const Result<Plan> plan =
      MakePolicy(GetParam()).value()->MakePlan(input, state, {.cancel = &cancel});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(state.values, std::vector<double>{3.0});
}

INSTANTIATE_TEST_SUITE_P(Policies, PlanInputTest, testing::ValuesIn(PolicyNames()),
                         [](const auto& test) { return std::string(test.param); });

TEST(GroupedPolicies, GroupsThatDoNotDivideTheExpertsAreRefused) {
  const Placement current = Placement::Contiguous(Topology::Create(2, 4).value(), 1, 8).value();
  const LoadWindow window({.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 8});
  PlanInput input{.current = &current, .history = {&window, 1}};
  input.options.num_groups = 3;
  for (std::string_view name : {"deepseek", "vllm"}) {
    PolicyState state;
    const Result<Plan> plan = MakePolicy(name).value()->MakePlan(input, state, {});
    ASSERT_FALSE(plan.ok()) << name;
    EXPECT_EQ(plan.status().message(), "3 groups do not divide 8 experts");
  }
}

TEST(LayerReport, SaysInOneSentenceWhyTheLayerIsAsItIs) {
  LayerReport report{.verdict = LayerVerdict::kChanged,
                     .imbalance_before = 1.5,
                     .imbalance_after = 1.25,
                     .lower_bound = 1.125,
                     .moves = 1};
  EXPECT_EQ(report.Reason(), "changed: imbalance 1.5000 to 1.2500 with 1 move");
  report.from_scratch = true;
  report.moves = 2;
  EXPECT_EQ(report.Reason(), "planned from scratch: imbalance 1.5000 to 1.2500 with 2 moves");
  report.limit = BindingLimit::kReceivingRank;
  EXPECT_EQ(report.Reason(),
            "planned from scratch: imbalance 1.5000 to 1.2500 with 2 moves; limited: the limit on "
            "moves to a rank forbids more");
  report.imbalance_after = 1.5;
  report.verdict = LayerVerdict::kKeptByLimit;
  EXPECT_EQ(report.Reason(),
            "kept: the limit on moves to a rank forbids what imbalance 1.5000 would be worth");
  report.verdict = LayerVerdict::kKeptByBound;
  EXPECT_EQ(report.Reason(), "kept: imbalance 1.5000 is within the gate of the lower bound 1.1250");
  report.verdict = LayerVerdict::kKeptByPrice;
  EXPECT_EQ(report.Reason(), "kept: no change of imbalance 1.5000 was worth its moves");
  report.verdict = LayerVerdict::kKeptByPolicy;
  EXPECT_EQ(report.Reason(), "kept: the policy asks for no change");
  report.imbalance_after = 1.25;
  EXPECT_EQ(report.Reason(),
            "kept: the policy asks for no change; shares alone bring it from 1.5000 to 1.2500");
}

/// Loads of 2 bins x 2 phases x 1 layer x 3 experts. By bin, experts get 4 2 0 and 0 2 4.
LoadWindow TwoBins() {
  return LoadWindow::Create({2, 2, 1, 3}, {1, 2, 0, 3, 0, 0, 0, 2, 1, 0, 0, 3}).value();
}

TEST(StaticPolicy, ReportsTheImbalanceOfTheLastWindowBinByBin) {
  const Placement current =
      Placement::Create(Topology::Create(3, 1).value(), 3, {0, 1, 2}, DuplicateRule::kRefuse)
          .value();
  const std::vector<LoadWindow> history = {LoadWindow({2, 2, 1, 3}), TwoBins()};
  PolicyState state;
  const Plan plan = MakePolicy("static")
                        .value()
                        ->MakePlan({.current = &current, .history = history}, state, {})
                        .value();
  EXPECT_EQ(plan.placement, current);
  EXPECT_EQ(plan.imbalance_before(), (4.0 + 4.0) / (2.0 + 2.0));
  EXPECT_EQ(plan.imbalance_after(), 2.0);
  EXPECT_EQ(plan.lower_bound(), 1.0);  // summed, all experts have 4
  EXPECT_EQ(plan.moves, 0);
  EXPECT_EQ(plan.layers[0].verdict, LayerVerdict::kKeptByPolicy);
  EXPECT_THAT(plan.ToString(), HasSubstr("1 layers: imbalance 2.0000 to 2.0000 (bound 1.0000)"));
}

TEST(PlanDigest, ChangesWithPlacementMovesAndState) {
  const LoadWindow window({1, 1, 1, 3});
  const auto digest = [&](std::vector<int32_t> slots, std::vector<double> state_values) {
    const Placement current = Placement::Create(Topology::Create(3, 1).value(), 3, std::move(slots),
                                                DuplicateRule::kRefuse)
                                  .value();
    PolicyState state{std::move(state_values)};
    return MakePolicy("static")
        .value()
        ->MakePlan({.current = &current, .history = {&window, 1}}, state, {})
        .value()
        .digest;
  };
  EXPECT_EQ(digest({0, 1, 2}, {}), digest({0, 1, 2}, {}));
  EXPECT_NE(digest({0, 1, 2}, {}), digest({1, 0, 2}, {}));
  EXPECT_NE(digest({0, 1, 2}, {}), digest({0, 1, 2}, {0.0}));
  EXPECT_NE(digest({0, 1, 2}, {1.0}), digest({0, 1, 2}, {2.0}));
}

TEST(RandomPolicy, EveryWindowAndSeedGetsAnotherPlacement) {
  const Placement current = Placement::Contiguous(Topology::Create(4, 9).value(), 2, 32).value();
  const LoadWindow window({1, 1, 2, 32});
  PlanInput input{.current = &current, .history = {&window, 1}};
  std::unique_ptr<Policy> policy = MakePolicy("random").value();
  PolicyState state;
  const Plan first = policy->MakePlan(input, state, {}).value();
  const Plan second = policy->MakePlan(input, state, {}).value();
  EXPECT_NE(first.placement, second.placement);
  const auto row = first.placement.slot_to_expert(0);
  const auto other = first.placement.slot_to_expert(1);
  EXPECT_FALSE(std::equal(row.begin(), row.end(), other.begin()));
  PolicyState fresh;
  EXPECT_EQ(policy->MakePlan(input, fresh, {}).value().placement, first.placement);
  input.options.seed = 1;
  fresh = {};
  EXPECT_NE(policy->MakePlan(input, fresh, {}).value().placement, first.placement);
}

TEST(RandomPolicy, RedundantSlotsGoToEveryExpertAlike) {
  const Placement current = Placement::Contiguous(Topology::Create(4, 3).value(), 1, 8).value();
  const LoadWindow window({1, 1, 1, 8});
  const PlanInput input{.current = &current, .history = {&window, 1}};
  std::unique_ptr<Policy> policy = MakePolicy("random").value();
  PolicyState state;
  std::vector<int> copies(8);
  for (int plan_idx = 0; plan_idx < 1000; ++plan_idx) {
    const Plan plan = policy->MakePlan(input, state, {}).value();
    for (int32_t expert : plan.placement.slot_to_expert(0)) {
      ++copies[expert];
    }
  }
  // 1500 each; the standard deviation of a count is about 21.
  EXPECT_THAT(copies, testing::Each(testing::AllOf(testing::Gt(1390), testing::Lt(1610))));
}

}  // namespace
}  // namespace steelyard
