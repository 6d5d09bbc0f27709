#include "plan/predictor_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace steelyard {
namespace {

// One layer of four experts on two ranks of two slots. Its loads have been even for two windows.
class TwoRanks : public testing::Test {
 protected:
  const LoadShape shape_ = {.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 4};
  const Placement contiguous_ = Placement::Contiguous(Topology::Create(2, 2).value(), 1, 4).value();
  std::vector<LoadWindow> history_ =
      std::vector<LoadWindow>(2, LoadWindow::Create(shape_, {10, 10, 10, 10}).value());
  const std::vector<int32_t> apart_ = {0, 2, 1, 3};  // experts 0 and 1 on different ranks

  RankCost cost_;

  PlanInput Input(Predictor predictor = Predictor::kAuto) const {
    PlanInput input;
    input.current = &contiguous_;
    input.history = history_;
    input.options.predictor = predictor;
    input.options.rank_cost = cost_;
    return input;
  }

  /// A plan whose candidate `k` keeps experts 0 and 1 apart; all others change nothing.
  PolicyState PlanWith(int k, double promised_gain) {
    PredictorChoice choice;
    choice.Begin(Input(), {});
    for (int i = 0; i < static_cast<int>(choice.candidates().size()); ++i) {
      const std::span<const int32_t> slots =
          i == k ? std::span<const int32_t>(apart_) : contiguous_.slot_to_expert(0);
      std::copy(slots.begin(), slots.end(), choice.plan(0, i).begin());
      choice.Promise(0, i, i == k ? promised_gain : 0.0);
    }
    return choice.Remember(contiguous_);
  }

  /// The choice after a window of `loads` has come.
  PredictorChoice After(const PolicyState& state, std::vector<double> loads) {
    PredictorChoice choice;
    choice.Begin(Input(), state);
    EXPECT_TRUE(choice.remembers());
    ScoreWorkspace workspace;
    choice.Judge(0, {loads.data(), 1, loads.size()}, workspace);
    choice.FinishJudging();
    return choice;
  }
};

/// Which candidate is best for the first layer when that with index `k` has kept experts 0 and 1
/// apart in all layers, and so many windows had these loads.
int BestAfter(int k, const std::vector<std::vector<double>>& loads_of_layers, int num_windows) {
  const int num_layers = static_cast<int>(loads_of_layers.size());
  const Placement contiguous =
      Placement::Contiguous(Topology::Create(2, 2).value(), num_layers, 4).value();
  const std::vector<LoadWindow> history(
      2, LoadWindow({.num_bins = 1, .num_phases = 1, .num_layers = num_layers, .num_experts = 4}));
  const PlanInput input{.current = &contiguous, .history = history};
  const std::vector<int32_t> apart = {0, 2, 1, 3};
  PredictorChoice choice;
  PolicyState state;
  ScoreWorkspace workspace;
  for (int window = 0; window <= num_windows; ++window) {
    choice.Begin(input, state);
    EXPECT_EQ(choice.remembers(), window > 0);
    for (int layer_idx = 0; layer_idx < num_layers && window > 0; ++layer_idx) {
      const std::vector<double>& loads = loads_of_layers[layer_idx];
      choice.Judge(layer_idx, {loads.data(), 1, loads.size()}, workspace);
    }
    if (window > 0) choice.FinishJudging();
    for (int layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
      for (int i = 0; i < static_cast<int>(choice.candidates().size()); ++i) {
        const std::span<const int32_t> slots =
            i == k ? std::span<const int32_t>(apart) : contiguous.slot_to_expert(layer_idx);
        std::copy(slots.begin(), slots.end(), choice.plan(layer_idx, i).begin());
      }
    }
    state = choice.Remember(contiguous);
  }
  return choice.best(0);
}

const std::vector<double> kBetter = {30, 30, 10, 10};  // where 0 and 1 are apart: 1 for 1.5
const std::vector<double> kWorse = {30, 10, 30, 10};

TEST(PredictorChoice, ThePredictorWhosePlansWereBestIsUsedNext) {
  for (const int k : {1, 2, 3}) {
    EXPECT_EQ(BestAfter(k, {kBetter, kBetter, kBetter, kBetter}, 3), k);
    EXPECT_EQ(BestAfter(k, {kWorse, kWorse, kWorse, kWorse}, 3), 0);
  }
}

TEST(PredictorChoice, ALeadCountsOnlyBeyondTheDifferencesBetweenLayersAndWindows) {
  EXPECT_EQ(BestAfter(2, {kBetter, kBetter, kBetter, kWorse}, 3), 0);
  EXPECT_EQ(BestAfter(2, {kBetter, kBetter, kBetter, kBetter}, 1), 0);  // one switch is luck
}

TEST(PredictorChoice, ALeadHasToBeWorthIt) {
  const std::vector<double> a_tenth = {10.02, 10.02, 10, 10};  // apart better by 0.001 of imbalance
  const std::vector<double> a_hundredth = {10.2, 10.2, 10, 10};
  EXPECT_EQ(BestAfter(2, {a_tenth, a_tenth, a_tenth, a_tenth}, 12), 0);
  EXPECT_EQ(BestAfter(2, {a_hundredth, a_hundredth, a_hundredth, a_hundredth}, 12), 2);
}

// Loads 30 30 10 10: apart the imbalance is 1, together 60 / 40 = 1.5.
TEST_F(TwoRanks, AMoveIsPricedByThePartOfItsGainThatCameTrue) {
  EXPECT_EQ(After(PlanWith(1, 0.5), {30, 30, 10, 10}).price_factor(1), 1.0);
  EXPECT_NEAR(After(PlanWith(1, 0.98), {30, 30, 10, 10}).price_factor(1), 1.0 / 0.52, 1e-12);
  EXPECT_EQ(After(PlanWith(1, 0.5), {10, 10, 10, 10}).price_factor(1), 2.5);
  EXPECT_EQ(After(PlanWith(1, 0.5), {10, 10, 10, 10}).price_factor(2), 1.0);
}

// Loads 30 10 0 0: apart the active experts are 1 and 1, together 2 and 0; tokens gain half of
// that.
TEST_F(TwoRanks, PlansAreJudgedByWhatRanksCost) {
  EXPECT_NEAR(After(PlanWith(1, 1.0), {30, 10, 0, 0}).price_factor(1), 1.02 / 0.52, 1e-12);
  cost_ = {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0};
  EXPECT_EQ(After(PlanWith(1, 1.0), {30, 10, 0, 0}).price_factor(1), 1.0);
}

TEST(PredictorChoice, PlansWithWeightedSharesAreJudgedByTheseShares) {
  const Placement contiguous = Placement::Contiguous(Topology::Create(2, 3).value(), 1, 4).value();
  const std::vector<LoadWindow> history(
      2, LoadWindow({.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 4}));
  PlanInput input{.current = &contiguous, .history = history};
  input.options.split = SplitRule::kWeighted;
  PredictorChoice before;
  before.Begin(input, {});
  const int num_candidates = static_cast<int>(before.candidates().size());
  // Ranks hold {0, 1, 2} and {3, 0, 1}. All split evenly, but for the second candidate.
  const std::vector<double> even = {0.5, 0.5, 1, 1, 0.5, 0.5};
  for (int k = 0; k <= num_candidates; ++k) {
    const std::vector<double> uneven = {0.25, 0.5, 1, 1, 0.75, 0.5};
    const std::vector<double>& shares = k == 1 ? uneven : even;
    std::copy(shares.begin(), shares.end(), before.shares(0, k).begin());
  }
  for (int k = 0; k < num_candidates; ++k) {
    const std::span<const int32_t> slots = contiguous.slot_to_expert(0);
    std::copy(slots.begin(), slots.end(), before.plan(0, k).begin());
    before.Promise(0, k, 0.25);
  }
  PredictorChoice after;
  after.Begin(input, before.Remember(contiguous));
  ASSERT_TRUE(after.remembers());
  // 20 + 30 and 10 + 20 of a mean of 40, an imbalance of 1.25, against 10 + 30 and 10 + 30.
  const std::vector<double> loads = {40, 0, 30, 10};
  ScoreWorkspace workspace;
  after.Judge(0, {loads.data(), 1, loads.size()}, workspace);
  after.FinishJudging();
  EXPECT_EQ(after.price_factor(1), 1.0);
  EXPECT_EQ(after.price_factor(0), 2.5);
  // Without shares there is nothing to judge.
  input.options.split = SplitRule::kEven;
  after.Begin(input, before.Remember(contiguous));
  EXPECT_FALSE(after.remembers());
}

TEST_F(TwoRanks, OneWindowLeavesNoMemory) {
  history_.pop_back();
  PredictorChoice choice;
  choice.Begin(Input(), {});
  EXPECT_FALSE(choice.keeps_plans());
  EXPECT_EQ(choice.candidates()[choice.best(0)], Predictor::kEma);
  EXPECT_TRUE(choice.Remember(contiguous_).values.empty());
}

TEST_F(TwoRanks, MemoryOfAnotherShapeIsForgotten) {
  const PolicyState state = PlanWith(1, 0.0);
  PredictorChoice choice;
  choice.Begin(Input(Predictor::kEma), state);
  EXPECT_EQ(choice.candidates().size(), 1u);
  EXPECT_FALSE(choice.remembers());
  PolicyState damaged = state;
  damaged.slots.pop_back();
  choice.Begin(Input(), damaged);
  EXPECT_FALSE(choice.remembers());
}

TEST_F(TwoRanks, PhasesAreACandidateWhereThereAreSeveral) {
  PredictorChoice choice;
  choice.Begin(Input(), {});
  EXPECT_EQ(choice.candidates().size(), 4u);
  LoadShape shape = shape_;
  shape.num_phases = 2;
  history_.assign(2, LoadWindow(shape));
  choice.Begin(Input(), {});
  EXPECT_EQ(choice.candidates().back(), Predictor::kPhases);
}

}  // namespace
}  // namespace steelyard
