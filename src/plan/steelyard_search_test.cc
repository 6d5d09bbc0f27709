// The parts of the search on loads summed over bins: cooling steps, replica repair, the path.
#include "plan/steelyard_search.h"

#include <gtest/gtest.h>

#include "base/test_scale.h"
#include "plan/steelyard_repair.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

constexpr double kMean = LayerState::kMeanLoad;
constexpr double kNever = 0.0;  // no step leaves so little

LayerState StateOf(const LayerShape& shape, const std::vector<double>& loads,
                   const std::vector<int32_t>& slots) {
  LayerState state;
  state.Prepare(shape);
  EXPECT_TRUE(state.SetLoads(Span2<const double>(loads, shape.num_bins, shape.num_experts)));
  state.Assign(slots);
  return state;
}

std::vector<int> Fields(const Step& step) {
  return {step.rank_a, step.expert_a, step.rank_b, step.expert_b};
}

TEST(CoolingStep, SwapsForHalfTheGap) {
  // {9, 5} against {4, 2}: a gap of 8, so a shift of 4 is best: 9 for 4 shifts 5, 5 for 2 shifts 3;
  // 9 and 11, 11 and 9: a tie, which goes to the heavier expert.
  const LayerState state =
      StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {9, 5, 4, 2}, {0, 1, 2, 3});
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{0, 0, 1, 2}));
}

TEST(CoolingStep, AddsACopyWhereSwapsDoNotHelp) {
  // Ranks {0, 1}, {2, 3}, {2, 3} carry 30, 5 and 5; a swap moves the heavy expert and helps nobody.
  // A second copy of it leaves 16, 8 and 16 over one of expert 2, and 16, 7 and 17 over one of
  // expert 3.
  const LayerState state = StateOf({.num_experts = 4, .num_ranks = 3, .slots_per_rank = 2},
                                   {28, 2, 6, 4}, {0, 1, 2, 3, 2, 3});
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{2, 2, -1, 0}));
}

TEST(CoolingStep, ShedsACopyForALighterExpert) {
  // {0, 1} carries 4 + 10, {0, 2} carries 4 + 1. Another copy of expert 1 leaves 8 + 5 on rank 0;
  // giving up expert 0 there, for a copy of expert 2, leaves 10 + 0.5, and 8 + 0.5 on rank 1.
  const LayerState state =
      StateOf({.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2}, {8, 10, 1}, {0, 1, 0, 2});
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{0, 0, -1, 2}));
}

TEST(CoolingStep, AStepMustBeWorthItsMoves) {
  // The swap of two moves cools 7 to 5, a third of the mean of 6.
  const LayerState state =
      StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {4, 3, 2, 3}, {0, 1, 2, 3});
  CoolingStepFinder finder;
  EXPECT_TRUE(finder.Find(state, 0.08 * kMean, kNever).is_some());
  EXPECT_FALSE(finder.Find(state, 0.09 * kMean, kNever).is_some());
}

TEST(CoolingStep, LooksNoFurtherThanASwapThatIsEnough) {
  // {10, 2} carries 12 of a mean of 25/3. With {5, 1} the best swap leaves 11, 10 for 5; with the
  // next coolest, {6.5, 0.5}, 10 for 6.5 leaves 10.5.
  const LayerState state = StateOf({.num_experts = 6, .num_ranks = 3, .slots_per_rank = 2},
                                   {10, 2, 5, 1, 6.5, 0.5}, {0, 1, 2, 3, 4, 5});
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{0, 0, 2, 4}));
  EXPECT_EQ(Fields(finder.Find(state, 0.0, 1.33 * kMean)), (std::vector<int>{0, 0, 1, 2}));
  EXPECT_EQ(Fields(finder.Find(state, 0.0, 1.31 * kMean)), (std::vector<int>{0, 0, 2, 4}));
}

TEST(CoolingStep, LooksFurtherWhileTheCoolestRanksCannotHelp) {
  // Rank 0 holds 9 and rank r, the r-th coolest, r and nothing else; only a swap of 9 with the 8 of
  // the next hottest rank cools it, and that rank is not one of the coolest four.
  const LayerShape shape = {.num_experts = 9, .num_ranks = 9, .slots_per_rank = 1};
  const LayerState crowded = StateOf(shape, {90, 1, 2, 3, 4, 5, 6, 7, 8}, ContiguousSlots(shape));
  CoolingStepFinder finder;
  EXPECT_FALSE(finder.Find(crowded, 0.0, kNever).is_some())
      << "a swap of single experts helps nobody";
  const LayerShape two = {.num_experts = 18, .num_ranks = 9, .slots_per_rank = 2};
  std::vector<double> loads = {50, 10};
  std::vector<int32_t> slots = {0, 1};
  for (int rank = 1; rank < 9; ++rank) {
    loads.insert(loads.end(), {rank < 8 ? 11.0 : 45.0, rank < 8 ? 11.0 + rank : 1.0});
    slots.insert(slots.end(), {2 * rank, 2 * rank + 1});
  }
  const LayerState state = StateOf(two, loads, slots);
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{0, 0, 8, 16}));
}

TEST(CoolingStep, AddsACopyOverAnExpertThatTheHotRankHoldsToo) {
  // {0, 1, 2} carries 20 + 1 + 1, {1, 2, 3} carries 4. Over the copy of expert 1 the hot rank takes
  // all of it: 10 + 2 + 1.
  const LayerState state = StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 3},
                                   {20, 2, 2, 2}, {0, 1, 2, 1, 2, 3});
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{1, 1, -1, 0}));
}

TEST(CoolingStep, MovesASingleCopyOverARedundantOneWhereNothingSimplerHelps) {
  // {4, 2, 0} carries 8 + 1 + 5, {1, 0, 3} carries 3 + 5 + 1. No exchange of two helps. Expert 4
  // moves over the copy of expert 0, and rank 0 takes half of expert 3 for it: 1 + 10 + 0.5 and
  // 3 + 8 + 0.5.
  LayerState state = StateOf({.num_experts = 5, .num_ranks = 2, .slots_per_rank = 3},
                             {10, 3, 1, 1, 8}, {4, 2, 0, 1, 0, 3});
  CoolingStepFinder finder;
  const Step step = finder.Find(state, 0.0, kNever);
  EXPECT_EQ(Fields(step), (std::vector<int>{0, 4, 1, 3}));
  EXPECT_EQ(step.expert_c, 0);
  state.Apply(step);
  EXPECT_EQ(state.moves(), 2);
  EXPECT_NEAR(state.max_rank_time(), kMean, 4);
}

TEST(CoolingStep, MovesWhatIsInTheWayOfACopy) {
  // {3, 2}, {1, 3} and {0, 3} carry 11, 4 and 12. Expert 1 makes way for a copy of expert 0: it
  // moves over expert 3 on rank 0, and all carry 9.
  LayerState state = StateOf({.num_experts = 4, .num_ranks = 3, .slots_per_rank = 2}, {9, 1, 8, 9},
                             {3, 2, 1, 3, 0, 3});
  CoolingStepFinder finder;
  const Step step = finder.Find(state, 0.0, kNever);
  EXPECT_EQ(Fields(step), (std::vector<int>{1, 1, 0, 0}));
  EXPECT_EQ(step.expert_c, 3);
  state.Apply(step);
  EXPECT_NEAR(state.max_rank_time(), kMean, 4);
  EXPECT_NEAR(state.rank_time(state.cool_rank(0)), kMean, 4);
}

TEST(CoolingStep, CountsTimeNotLoadWhereSpeedsDiffer) {
  // Rank 0 is thrice as fast as rank 1: 12 take it as long as 4 take rank 1, which is the hotter
  // with 5. Swapping 4 for 3 evens them.
  const Topology topology =
      Topology::Create({.num_ranks = 2, .slots_per_rank = 2, .rank_speed = {3, 1}}).value();
  const LayerShape shape = {
      .num_experts = 4, .num_ranks = 2, .slots_per_rank = 2, .topology = &topology};
  const LayerState state = StateOf(shape, {8, 3, 4, 1}, {0, 1, 2, 3});
  EXPECT_EQ(state.hot_rank(0), 1);
  EXPECT_NEAR(state.max_rank_time(), kMean * 5 / 4, 4);
  CoolingStepFinder finder;
  EXPECT_EQ(Fields(finder.Find(state, 0.0, kNever)), (std::vector<int>{1, 2, 0, 1}));
}

TEST(Repair, GivesTheHeaviestCopyAnotherOverTheSlotThatCostsLeast) {
  // Expert 0 is heavier than all else together. Over expert 1 its copy leaves 25 + 1 and heats the
  // other holder to 9; over expert 2 it leaves 25 + 4.
  const LayerState state = StateOf({.num_experts = 4, .num_ranks = 3, .slots_per_rank = 2},
                                   {50, 8, 2, 1}, {0, 3, 1, 2, 1, 2});
  const Step step = FindRepair(state, 0.5 * kMean);
  EXPECT_EQ(Fields(step), (std::vector<int>{1, 1, -1, 0}));
  EXPECT_FALSE(FindRepair(state, 3.0 * kMean).is_some()) << "no copy is as heavy as that";
}

TEST(Repair, TakesNoCopyFromAnExpertThatWouldBecomeAsHeavy) {
  const LayerState state =
      StateOf({.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2}, {10, 10.5, 1}, {0, 1, 1, 2});
  EXPECT_FALSE(FindRepair(state, 0.1 * kMean).is_some());
}

double Score(const LayerState& state, double price) {
  return state.Objective() + price * state.moves();
}

TEST(PathSearch, EndsAtTheBestPointOfItsPathOrWhereItBegan) {
  int num_kept = 0;
  int num_changed = 0;
  for (int seed = 0; seed < Scaled(1000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, Draw(random, 1, 3));
    const std::vector<int32_t> slots = RandomSlots(random, shape);
    LayerState state = StateOf(
        shape, LogNormalLoads(random, static_cast<size_t>(shape.num_bins) * shape.num_experts, 1.0),
        slots);
    const double price = 0.01 * Draw(random, 0, 10) * kMean;
    const double before = state.Objective();
    PathSearch search;
    search.Prepare(shape);
    search.Run({.price = price, .lower_bound = kMean, .heaviest_copy = 0.3 * kMean}, state);
    if (state.moves() == 0) {
      ++num_kept;
      ASSERT_EQ(state.Objective(), before);
    } else {
      ++num_changed;
      ASSERT_LT(Score(state, price), before);
    }
  }
  EXPECT_GT(num_kept, 0);
  EXPECT_GT(num_changed, 0);
}

TEST(PathSearch, APriceAboveEveryGainKeeps) {
  LayerState state =
      StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {9, 5, 4, 2}, {0, 1, 2, 3});
  PathSearch search;
  search.Prepare(state.shape());
  search.Run({.price = 2.0 * kMean, .lower_bound = kMean, .heaviest_copy = 2.0 * kMean}, state);
  EXPECT_EQ(state.moves(), 0);
}

TEST(PathSearch, EndsWhereTheObjectiveIsLowEnough) {
  // {9, 5}, {8, 4} and {1, 3} carry 14, 12 and 4 of a mean of 10. The first swap leaves 12 as the
  // most, which may be enough.
  const LayerShape shape = {.num_experts = 6, .num_ranks = 3, .slots_per_rank = 2};
  const std::vector<double> loads = {9, 5, 8, 4, 1, 3};
  PathSearch search;
  search.Prepare(shape);
  SearchOptions options = {.price = 0.0, .lower_bound = kMean, .heaviest_copy = 2.0 * kMean};
  LayerState state = StateOf(shape, loads, ContiguousSlots(shape));
  search.Run(options, state);
  const double least = state.Objective();
  const int moves = state.moves();
  options.settled_at = 1.25 * kMean;
  state.Assign(ContiguousSlots(shape));
  search.Run(options, state);
  EXPECT_LE(state.Objective(), options.settled_at);
  EXPECT_GT(state.Objective(), least);
  EXPECT_LT(state.moves(), moves);
}

TEST(PathSearch, AMoveThatIsTakenBackIsNotPaidFor) {
  // The base is level; somebody has already swapped 5 for 2. Swapping back costs nothing, whatever
  // the price.
  LayerState state =
      StateOf({.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2}, {8, 2, 5, 5}, {0, 1, 2, 3});
  state.Apply({.rank_a = 0, .expert_a = 1, .rank_b = 1, .expert_b = 2});
  ASSERT_EQ(state.moves(), 2);
  PathSearch search;
  search.Prepare(state.shape());
  search.Run(
      {.price = 2.0 * kMean, .lower_bound = kMean - 4.0 * kMean, .heaviest_copy = 2.0 * kMean},
      state);
  EXPECT_EQ(state.moves(), 0);
  EXPECT_TRUE(state.Holds(0, 1));
}

}  // namespace
}  // namespace steelyard
