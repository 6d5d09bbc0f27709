#include "plan/steelyard_binwise.h"

#include <gtest/gtest.h>

#include "base/test_scale.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

constexpr double kMean = LayerState::kMeanLoad;

LayerState StateOf(const LayerShape& shape, const std::vector<double>& bins,
                   const std::vector<int32_t>& slots) {
  LayerState state;
  state.Prepare(shape);
  EXPECT_TRUE(state.SetLoads(Span2<const double>(bins, shape.num_bins, shape.num_experts)));
  state.Assign(slots);
  return state;
}

/// Experts 0 and 1 are hot in the first bin, 2 and 3 in the second.
class AlternatingBins : public testing::Test {
 protected:
  AlternatingBins()
      : state_(StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2, .num_bins = 2},
                       {5, 5, 1, 1, 1, 1, 5, 5}, {0, 1, 2, 3})) {
    search_.Prepare(state_.shape());
  }

  LayerState state_;
  BinwiseSearch search_;
};

TEST_F(AlternatingBins, ALayerThatIsLevelInTheSumMayBeFarFromLevelInEveryBin) {
  EXPECT_EQ(state_.rank_load(0), state_.rank_load(1));
  EXPECT_NEAR(state_.Objective(), kMean * 20 / 12, 4);
  search_.Run(0.0, 10, state_);
  EXPECT_NEAR(state_.Objective(), kMean, 4);
  EXPECT_EQ(state_.moves(), 2);
}

TEST_F(AlternatingBins, EveryStepPaysForItsMoves) {
  search_.Run(0.34 * kMean, 10, state_);  // two moves win two thirds
  EXPECT_EQ(state_.moves(), 0);
  search_.Run(0.33 * kMean, 10, state_);
  EXPECT_EQ(state_.moves(), 2);
}

TEST_F(AlternatingBins, StopsAfterTheStepsItIsGiven) {
  search_.Run(0.0, 0, state_);
  EXPECT_EQ(state_.moves(), 0);
}

TEST(BinwiseSearch, AddsACopyOfWhatIsHotInOneBin) {
  // Expert 0 has all of the second bin. A copy of it over the redundant 2 or 3 halves that bin.
  LayerState state = StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 3, .num_bins = 2},
                             {1, 1, 1, 1, 12, 0, 0, 0}, {0, 2, 3, 1, 2, 3});
  BinwiseSearch search;
  search.Prepare(state.shape());
  search.Run(0.01 * kMean, 10, state);
  EXPECT_EQ(state.copies(0), 2);
  EXPECT_LT(state.Objective(), 1.2 * kMean);
}

TEST(BinwiseSearch, GoesOnToTheNextHotRankWhereTheHottestCannotBeCooled) {
  // {0, 1} carries 20 of the first bin, all of it one expert: every swap of the rank makes that bin
  // worse. {2, 3} carries 4 of the second, {4, 5} carries 2: a swap of theirs leaves the first bin
  // as it is.
  LayerState state = StateOf({.num_experts = 6, .num_ranks = 3, .slots_per_rank = 2, .num_bins = 2},
                             {20, 0, 3, 3, 3, 3, 1, 1, 2, 2, 1, 1}, {0, 1, 2, 3, 4, 5});
  BinwiseSearch search;
  search.Prepare(state.shape());
  search.Run(0.0, 10, state);
  EXPECT_TRUE(state.Holds(0, 0) && state.Holds(0, 1));
  EXPECT_NE(state.Holds(1, 2), state.Holds(1, 3));
}

TEST(BinwiseSearch, LowersTheObjectiveByMoreThanItPaysFromAnywhere) {
  int num_changed = 0;
  for (int seed = 0; seed < Scaled(1000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, Draw(random, 2, 5));
    LayerState state = StateOf(
        shape, LogNormalLoads(random, static_cast<size_t>(shape.num_bins) * shape.num_experts, 1.0),
        RandomSlots(random, shape));
    const double price = 0.01 * Draw(random, 0, 5) * kMean;
    const double before = state.Objective();
    BinwiseSearch search;
    search.Prepare(shape);
    search.Run(price, 60, state);
    if (state.moves() == 0) {
      ASSERT_EQ(state.Objective(), before);
      continue;
    }
    ++num_changed;
    ASSERT_LT(state.Objective() + price * state.moves(), before);
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      for (int i = 1; i < shape.slots_per_rank; ++i) {
        for (int j = 0; j < i; ++j) {
          ASSERT_NE(state.held(rank)[i].expert, state.held(rank)[j].expert) << "rank " << rank;
        }
      }
    }
  }
  EXPECT_GT(num_changed, 100 * Scaled(1000) / 1000);
}

}  // namespace
}  // namespace steelyard
