// The search and the plans where replicas share by weight.
#include "plan/steelyard_weighted.h"

#include <gtest/gtest.h>

#include <climits>

#include "plan/score.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

constexpr double kMean = LayerState::kMeanLoad;

/// A search at a placement of plain ranks.
class Searched {
 public:
  Searched(const LayerShape& shape, const std::vector<double>& loads,
           const std::vector<int32_t>& slots)
      : topology_(Topology::Create(shape.num_ranks, shape.slots_per_rank).value()),
        fitted_(slots.size()) {
    state_.Prepare(shape);
    EXPECT_TRUE(state_.SetLoads(Span2<const double>(loads, 1, shape.num_experts)));
    fitter_.Prepare(shape, topology_);
    EXPECT_TRUE(
        fitter_.Fit(state_.expert_loads(), RowOf(shape, slots), nullptr, INT_MAX, fitted_).ok());
    state_.Assign(fitted_);
    search_.Prepare(shape, topology_);
    search_.Begin(fitter_);
  }

  LayerState& state() { return state_; }
  WeightedSearch& search() { return search_; }
  double level() { return search_.Level(state_) / kMean; }

 private:
  Topology topology_;
  LayerFitter fitter_;
  LayerState state_;
  std::vector<int32_t> fitted_;
  WeightedSearch search_;
};

TEST(WeightedSearch, KeepsWhatSharesAloneCanLevel) {
  // {0, 1} and {0, 2} carry 6 + 5 and 6 + 1 evenly split; with 4 and 8 of expert 0 both carry 9.
  Searched searched({.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2}, {12, 5, 1},
                    {0, 1, 0, 2});
  EXPECT_NEAR(searched.level(), 1.0, 1e-6);
  EXPECT_NEAR(searched.search().shares()[0], 4.0 / 12, 1e-6);
  searched.search().Run(0.0, kMean, searched.state());
  EXPECT_EQ(searched.state().moves(), 0);
}

TEST(WeightedSearch, LeadsLoadOutOfTheBottleneckWithOneMove) {
  // {0, 1}, {1, 2}, {3, 4}, {3, 4}: ranks 0 and 1 carry all of 0, 1 and 2, 18 together, the others
  // 6. A copy of 0 or 1 over one of 3 or 4 lets all carry 6.
  Searched searched({.num_experts = 5, .num_ranks = 4, .slots_per_rank = 2}, {8, 6, 4, 3, 3},
                    {0, 1, 1, 2, 3, 4, 3, 4});
  EXPECT_NEAR(searched.level(), 9.0 / 6, 1e-6);
  searched.search().Run(0.01 * kMean, kMean, searched.state());
  EXPECT_EQ(searched.state().moves(), 1);
  EXPECT_NEAR(searched.level(), 1.0, 1e-6);
}

TEST(WeightedSearch, SwapsWhereNothingIsRedundant) {
  Searched searched({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {9, 5, 4, 2},
                    {0, 1, 2, 3});
  searched.search().Run(0.0, kMean, searched.state());
  EXPECT_NEAR(searched.level(), 11.0 / 10, 1e-6);
  EXPECT_EQ(searched.state().moves(), 2);
}

TEST(WeightedSearch, APriceAboveTheGainKeeps) {
  Searched searched({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {9, 5, 4, 2},
                    {0, 1, 2, 3});
  searched.search().Run(0.2 * kMean, kMean, searched.state());
  EXPECT_EQ(searched.state().moves(), 0);
}

LoadWindow WindowOf(const LoadShape& shape, std::vector<double> counts) {
  return LoadWindow::Create(shape, std::move(counts)).value();
}

Plan PlanWeighted(const char* policy, const Placement& current, const LoadWindow& window) {
  PolicyState state;
  const PlanOptions options = {.predictor = Predictor::kLast, .split = SplitRule::kWeighted};
  return MakePolicy(policy)
      .value()
      ->MakePlan({.current = &current, .history = {&window, 1}, .options = options}, state, {})
      .value();
}

TEST(WeightedPlan, EveryPolicyGetsTheBestSharesForItsPlacement) {
  const Placement current =
      Placement::Create(Topology::Create(2, 2).value(), 3, {0, 1, 0, 2}, DuplicateRule::kRefuse)
          .value();
  const LoadWindow window =
      WindowOf({.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 3}, {12, 5, 1});
  for (const char* policy : {"static", "steelyard"}) {
    SCOPED_TRACE(policy);
    const Plan plan = PlanWeighted(policy, current, window);
    EXPECT_EQ(plan.moves, 0);
    ASSERT_TRUE(plan.placement.has_shares());
    EXPECT_NEAR(plan.placement.shares(0)[0], 4.0 / 12, 1e-6);
    EXPECT_NEAR(plan.placement.shares(0)[2], 8.0 / 12, 1e-6);
    EXPECT_NEAR(plan.imbalance_before(), 11.0 / 9, 1e-9);
    EXPECT_NEAR(plan.imbalance_after(), 1.0, 1e-9);
  }
}

TEST(WeightedPlan, ADriftedLoadIsLevelAgainWithAFewMovesALayer) {
  constexpr int kNumLayers = 6;
  std::mt19937_64 random(1);
  const LoadShape shape = {
      .num_bins = 1, .num_phases = 1, .num_layers = kNumLayers, .num_experts = 256};
  std::vector<double> a = LogNormalLoads(random, shape.num_counts(), 1.0);
  const std::vector<double> b = LogNormalLoads(random, shape.num_counts(), 1.0);
  const Placement contiguous =
      Placement::Contiguous(Topology::Create(32, 9).value(), kNumLayers, 256).value();
  const Plan first = PlanWeighted("steelyard", contiguous, WindowOf(shape, a));
  EXPECT_LE(first.imbalance_after(), 1.001);
  for (size_t i = 0; i < a.size(); ++i) a[i] = 0.8 * a[i] + 0.2 * b[i];
  const Plan plan = PlanWeighted("steelyard", first.placement, WindowOf(shape, a));
  EXPECT_GT(plan.imbalance_before(), 1.2);
  EXPECT_LE(plan.imbalance_after(), 1.012);
  EXPECT_LE(plan.moves, 12 * kNumLayers);
}

}  // namespace
}  // namespace steelyard
