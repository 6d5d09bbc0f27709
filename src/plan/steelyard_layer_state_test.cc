#include "plan/steelyard_layer_state.h"

#include <gtest/gtest.h>

#include "base/test_scale.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

// Loads are rounded to whole numbers: those of a rank may be off by one for each of two copies.
constexpr double kMean = LayerState::kMeanLoad;

/// Three experts of 6, 4 and 2 tokens on two ranks of two slots: {0, 1} and {0, 2}.
class SmallLayer : public testing::Test {
 protected:
  SmallLayer() {
    state_.Prepare({.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2});
    const std::vector<double> loads = {6, 4, 2};
    EXPECT_TRUE(state_.SetLoads(Span2<const double>(loads, 1, 3)));
    state_.Assign(std::vector<int32_t>{1, 0, 0, 2});
  }

  LayerState state_;
};

TEST_F(SmallLayer, CarriesTheLoadOfItsCopies) {
  // 12 tokens on two ranks: 6 are a mean rank load. Rank 0 carries 4 + 6/2, rank 1 carries 6/2 + 2.
  EXPECT_NEAR(state_.rank_load(0), kMean * 7.0 / 6, 2);
  EXPECT_NEAR(state_.rank_load(1), kMean * 5.0 / 6, 2);
  EXPECT_EQ(state_.hot_rank(0), 0);
  EXPECT_EQ(state_.cool_rank(0), 1);
  EXPECT_NEAR(state_.Objective(), kMean * 7.0 / 6, 2);
  EXPECT_EQ(state_.held(0)[0].expert, 1);
  EXPECT_EQ(state_.held(0)[1].copies, 2);
}

TEST_F(SmallLayer, ASwapIsTwoMovesAndItsUndoingRefundsThem) {
  const Step step = {.rank_a = 0, .expert_a = 1, .rank_b = 1, .expert_b = 2};
  state_.Apply(step);
  EXPECT_NEAR(state_.rank_load(0), kMean * 5.0 / 6, 2);
  EXPECT_EQ(state_.moves(), 2);
  EXPECT_EQ(state_.moves(0), 1);
  state_.Undo(step);
  EXPECT_NEAR(state_.rank_load(0), kMean * 7.0 / 6, 2);
  EXPECT_EQ(state_.moves(), 0);
}

TEST_F(SmallLayer, AReplacementSplitsTheNewExpertAndHeapsTheOldOneOnItsOtherHolders) {
  // Rank 1 gives its half of expert 0 for half of expert 1: {0, 1} carries 6 + 2, {1, 2} carries 2
  // + 2.
  state_.Apply({.rank_a = 1, .expert_a = 0, .rank_b = -1, .expert_b = 1});
  EXPECT_NEAR(state_.rank_load(0), kMean * 8.0 / 6, 2);
  EXPECT_NEAR(state_.rank_load(1), kMean * 4.0 / 6, 2);
  EXPECT_EQ(state_.moves(), 1);
  EXPECT_EQ(state_.copies(0), 1);
  EXPECT_EQ(state_.copies(1), 2);
}

TEST_F(SmallLayer, WritesWhatStaysIntoItsSlot) {
  state_.Apply({.rank_a = 0, .expert_a = 1, .rank_b = 1, .expert_b = 2});
  std::vector<int32_t> slots(4);
  state_.WriteSlots(std::vector<int32_t>{1, 0, 0, 2}, slots);
  EXPECT_EQ(slots, (std::vector<int32_t>{2, 0, 0, 1}));
}

TEST(LayerState, WithoutLoadThereIsNothingToSet) {
  LayerState state;
  state.Prepare({.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2});
  const std::vector<double> loads = {0, 0, 0};
  EXPECT_FALSE(state.SetLoads(Span2<const double>(loads, 1, 3)));
}

Step RandomStep(std::mt19937_64& random, const LayerState& state) {
  const int num_ranks = state.shape().num_ranks;
  const int a = Draw(random, 0, num_ranks - 1);
  const int b = Draw(random, 0, num_ranks - 1);
  const auto pick = [&](int rank) {
    return state.held(rank)[Draw(random, 0, state.shape().slots_per_rank - 1)].expert;
  };
  const int32_t expert_a = pick(a);
  const int32_t expert_b = pick(b);
  if (a == b || state.Holds(a, expert_b)) return {};
  if (!state.Holds(b, expert_a)) {
    const int32_t expert_c = pick(b);
    const int32_t expert_x = Draw(random, 0, state.shape().num_experts - 1);
    if (state.copies(expert_c) > 1 && expert_c != expert_x && !state.Holds(a, expert_x)) {
      return {.rank_a = a,
              .expert_a = expert_a,
              .rank_b = b,
              .expert_b = expert_x,
              .expert_c = expert_c};
    }
    return {.rank_a = a, .expert_a = expert_a, .rank_b = b, .expert_b = expert_b};
  }
  return {.rank_a = a, .expert_a = expert_a, .rank_b = -1, .expert_b = expert_b};
}

void ExpectSame(const LayerState& state, const LayerState& other) {
  for (int rank = 0; rank < state.shape().num_ranks; ++rank) {
    ASSERT_EQ(state.rank_load(rank), other.rank_load(rank));
    ASSERT_EQ(state.hot_rank(rank), other.hot_rank(rank));
    for (int t = 0; state.shape().num_bins > 1 && t < state.shape().num_bins; ++t) {
      ASSERT_EQ(state.rank_bins(rank)[t], other.rank_bins(rank)[t]);
    }
    for (int i = 0; i < state.shape().slots_per_rank; ++i) {
      ASSERT_EQ(state.held(rank)[i].expert, other.held(rank)[i].expert);
      ASSERT_EQ(state.held(rank)[i].load, other.held(rank)[i].load);
      ASSERT_EQ(state.held(rank)[i].copies, other.held(rank)[i].copies);
    }
  }
}

TEST(LayerState, AClosedSlotHoldsNothingAndARankWithoutSlotsIsNotAmongTheRanks) {
  // Rank 1 is dead and rank 2 has one slot.
  const Topology topology =
      Topology::Create(
          {.num_ranks = 3, .slots_per_rank = 2, .slots_of_rank = {2, 2, 1}, .dead_ranks = {1}})
          .value();
  LayerState state;
  state.Prepare({.num_experts = 2, .num_ranks = 3, .slots_per_rank = 2, .topology = &topology});
  const std::vector<double> loads = {6, 2};
  ASSERT_TRUE(state.SetLoads(Span2<const double>(loads, 1, 2)));
  const std::vector<int32_t> slots = {1, 0, kClosedSlot, kClosedSlot, 0, kClosedSlot};
  state.Assign(slots);
  EXPECT_EQ(state.num_ranks(), 2);
  EXPECT_EQ(state.hot_rank(0), 0);
  EXPECT_EQ(state.cool_rank(0), 2);
  EXPECT_NEAR(state.Objective(), kMean * 5 / 4, 2);
  EXPECT_TRUE(state.held(1).empty());
  std::vector<int32_t> written(6);
  state.WriteSlots(slots, written);
  EXPECT_EQ(written, slots);
}

TEST(LayerState, DependsOnlyOnWhatIsHeldNotOnHowItGotThere) {
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, Draw(random, 1, 3));
    LayerState state;
    LayerState fresh;
    state.Prepare(shape);
    fresh.Prepare(shape);
    const std::vector<double> loads =
        LogNormalLoads(random, static_cast<size_t>(shape.num_bins) * shape.num_experts, 1.0);
    const Span2<const double> bins(loads, shape.num_bins, shape.num_experts);
    ASSERT_TRUE(state.SetLoads(bins) && fresh.SetLoads(bins));
    const std::vector<int32_t> start = RandomSlots(random, shape);
    state.Assign(start);
    std::vector<Step> path;
    for (int i = 0; i < 50; ++i) {
      const Step step = RandomStep(random, state);
      if (!step.is_some()) continue;
      path.push_back(step);
      state.Apply(step);
    }
    std::vector<int32_t> slots(shape.num_slots());
    state.WriteSlots(start, slots);
    fresh.Assign(slots);
    ExpectSame(state, fresh);
    int moves = 0;
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      for (const HeldExpert& entry : state.held(rank)) {
        moves += RankHolds(shape, start, rank, entry.expert) ? 0 : 1;
      }
    }
    ASSERT_EQ(state.moves(), moves);
    for (; !path.empty(); path.pop_back()) state.Undo(path.back());
    fresh.Assign(start);
    ExpectSame(state, fresh);
    ASSERT_EQ(state.moves(), 0);
  }
}

}  // namespace
}  // namespace steelyard
