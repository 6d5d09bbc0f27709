#include "plan/score.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

TEST(Apportion, GivesTheNextSlotToTheLargestLoadPerCopyAndTiesToTheLowestExpert) {
  ScoreWorkspace workspace;
  std::vector<int32_t> copies(4);
  // 12 halves to 6; then 6 and 6 tie, and expert 0 goes first; then expert 2; then 4, 4, 3, 3 tie
  // at expert 0.
  EXPECT_EQ(Apportion(std::vector<double>{12, 1, 6, 2}, 4, 7, copies, workspace), 4.0);
  EXPECT_EQ(copies, (std::vector<int32_t>{3, 1, 2, 1}));
}

TEST(Apportion, NoExpertGetsMoreCopiesThanThereAreRanks) {
  ScoreWorkspace workspace;
  std::vector<int32_t> copies(3);
  EXPECT_EQ(Apportion(std::vector<double>{100, 1, 0}, 2, 6, copies, workspace), 50.0);
  EXPECT_EQ(copies, (std::vector<int32_t>{2, 2, 2}));
}

TEST(LowerBound, IsOneWhereTheMeanDecides) {
  ScoreWorkspace workspace;
  EXPECT_EQ(LowerBound(std::vector<double>{3, 3, 3, 3}, Topology::Create(2, 2).value(),
                       SplitRule::kEven, workspace),
            1.0);
}

TEST(LowerBound, IsTheHottestExpertWhereNothingIsRedundant) {
  ScoreWorkspace workspace;
  EXPECT_EQ(LowerBound(std::vector<double>{9, 1, 1, 1}, Topology::Create(2, 2).value(),
                       SplitRule::kEven, workspace),
            9.0 / 6.0);
}

TEST(LowerBound, IsOneWithoutLoad) {
  ScoreWorkspace workspace;
  EXPECT_EQ(LowerBound(std::vector<double>{0, 0, 0}, Topology::Create(2, 2).value(),
                       SplitRule::kEven, workspace),
            1.0);
}

/// The smallest largest load per copy over all counts that sum to the slots left, by trying them
/// all.
double SmallestPeak(const std::vector<double>& loads, size_t expert, int max_copies,
                    int slots_left) {
  const int others = static_cast<int>(loads.size() - expert) - 1;
  if (others == 0) {
    return slots_left <= max_copies ? loads[expert] / slots_left : 1e300;
  }
  double smallest = 1e300;
  for (int copies = 1; copies <= max_copies && slots_left - copies >= others; ++copies) {
    const double rest = SmallestPeak(loads, expert + 1, max_copies, slots_left - copies);
    smallest = std::min(smallest, std::max(loads[expert] / copies, rest));
  }
  return smallest;
}

TEST(LowerBound, EqualsTheBestOfAllCountsInSmallInstances) {
  ScoreWorkspace workspace;
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int num_experts = 1 + static_cast<int>(random() % 5);
    const int num_ranks = 1 + static_cast<int>(random() % 4);
    const int num_slots =
        num_experts + static_cast<int>(random() % (num_experts * num_ranks - num_experts + 1));
    std::vector<double> loads(num_experts);
    double sum = 0;
    for (double& load : loads) {
      load = static_cast<double>(random() % (1 + seed % 20));
      sum += load;
    }
    const double peak = SmallestPeak(loads, 0, num_ranks, num_slots);
    std::vector<int32_t> copies(num_experts);
    ASSERT_EQ(Apportion(loads, num_ranks, num_slots, copies, workspace), peak);
    int num_copies = 0;
    double own_peak = 0.0;
    for (int e = 0; e < num_experts; ++e) {
      ASSERT_GE(copies[e], 1);
      ASSERT_LE(copies[e], num_ranks);
      num_copies += copies[e];
      own_peak = std::max(own_peak, loads[e] / copies[e]);
    }
    ASSERT_EQ(num_copies, num_slots);
    ASSERT_EQ(own_peak, peak);
    const double mean = sum / num_ranks;
    const double bound = sum == 0 ? 1.0 : std::max(mean, peak) / mean;
    if (num_slots < num_ranks) continue;  // a rank has a slot
    TopologySpec spec = {.num_ranks = num_ranks,
                         .slots_per_rank = (num_slots + num_ranks - 1) / num_ranks};
    for (int rank = 0; rank < num_ranks; ++rank) {
      spec.slots_of_rank.push_back((num_slots + num_ranks - 1 - rank) / num_ranks);
    }
    const Topology topology = Topology::Create(spec).value();
    ASSERT_EQ(LowerBound(loads, topology, SplitRule::kEven, workspace), bound);
  }
}

TEST(LowerBound, CountsTheFastestRanksForEachCopyWhereSpeedsDiffer) {
  // Ranks of speed 3 and 1, three slots, so two copies of expert 0 are possible: evenly split they
  // take 12 / (2 x 1), on the fast rank alone 12 / 3, weighted 12 / (3 + 1). The mean is 14 / 4.
  const Topology topology =
      Topology::Create(
          {.num_ranks = 2, .slots_per_rank = 2, .slots_of_rank = {2, 1}, .rank_speed = {3, 1}})
          .value();
  ScoreWorkspace workspace;
  const std::vector<double> loads = {12, 2};
  EXPECT_EQ(LowerBound(loads, topology, SplitRule::kEven, workspace), 4.0 / 3.5);
  EXPECT_EQ(LowerBound(loads, topology, SplitRule::kWeighted, workspace), 1.0);
}

// Experts 0 1 | 2 0: expert 0 is on both ranks.
const std::vector<int32_t> kSlots = {0, 1, 2, 0};

TEST(Imbalance, SumsTheLargestRankLoadOfEachBinOverTheSumOfMeans) {
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> bins = {2, 5, 1,   // rank loads 6 and 2
                                    4, 0, 6};  // rank loads 2 and 8
  EXPECT_EQ(Imbalance({bins.data(), 2, 3}, kSlots, {}, topology, {}, workspace),
            (6.0 + 8.0) / (4.0 + 5.0));
}

TEST(CostImbalance, IsTheCostliestRankByWhatNoPlacementIsBelow) {
  // Ranks carry 6 and 2 tokens in the first bin and 2 and 8 in the second, where expert 1 has none:
  // rank 0 then has one active expert of two.
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> bins = {2, 5, 1, 4, 0, 6};
  const Span2<const double> two(bins.data(), 2, 3);
  const RankCost active = {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0};
  EXPECT_EQ(CostImbalance(two, kSlots, {}, topology, active, workspace), (2.0 + 2.0) / (1.5 + 1.0));
  const RankCost tokens = {.a = 0.0, .b = 0.0, .c = 0.0, .d = 3.0};
  EXPECT_EQ(CostImbalance(two, kSlots, {}, topology, tokens, workspace),
            Imbalance(two, kSlots, {}, topology, {}, workspace));
  // max(1 + 3 x active, tokens): 7 of 7 and 6; then 7 of 4 and 8.
  const RankCost both = {.a = 1.0, .b = 3.0, .c = 0.0, .d = 1.0};
  EXPECT_EQ(CostImbalance(two, kSlots, {}, topology, both, workspace),
            (7.0 + 8.0) / ((2 + 3 * 3) / 2.0 + 10.0 / 2));
}

TEST(CostImbalance, TakesARowForSoManyBins) {
  // Costs 7 of 7 and 6, level 5.5; in the quarter of a bin 4 and 7, level 4.
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> rows = {2, 5, 1, 1, 0, 1};
  const std::vector<double> weights = {1, 0.25};
  const RankCost cost = {.a = 1.0, .b = 3.0, .c = 0.0, .d = 1.0};
  EXPECT_EQ(CostImbalance({rows.data(), 2, 3}, kSlots, {}, topology, cost, workspace, weights),
            (7.0 + 0.25 * 7.0) / (5.5 + 0.25 * 4.0));
}

TEST(Imbalance, WeighsBins) {
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> bins = {2, 5, 1, 4, 0, 6};
  const std::vector<double> weights = {0.5, 2.0};
  EXPECT_EQ(Imbalance({bins.data(), 2, 3}, kSlots, {}, topology, weights, workspace),
            (0.5 * 6.0 + 2.0 * 8.0) / (0.5 * 4.0 + 2.0 * 5.0));
}

TEST(Imbalance, FollowsShares) {
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> bins = {8, 1, 3};
  const std::vector<double> shares = {0.75, 1.0, 1.0, 0.25};  // rank loads 7 and 5
  EXPECT_EQ(Imbalance({bins.data(), 1, 3}, kSlots, shares, topology, {}, workspace), 7.0 / 6.0);
}

TEST(Imbalance, IsOneWithoutLoadAndIgnoresEmptyBins) {
  ScoreWorkspace workspace;
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<double> bins = {0, 0, 0, 2, 5, 1};
  EXPECT_EQ(Imbalance({bins.data(), 1, 3}, kSlots, {}, topology, {}, workspace), 1.0);
  EXPECT_EQ(Imbalance({bins.data(), 2, 3}, kSlots, {}, topology, {}, workspace), 6.0 / 4.0);
}

}  // namespace
}  // namespace steelyard
