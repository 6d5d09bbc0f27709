// Weighted shares against the definition: no set of experts can be held by too little speed, and no
// expert gives load to a rank that is hotter than another of its holders.
#include "plan/share_solver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "base/test_scale.h"
#include "plan/score.h"
#include "plan/steelyard_test_util.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

struct Layer {
  Topology topology;
  std::vector<double> loads;
  std::vector<int32_t> slots;
};

struct Split {
  double peak = 0.0;
  std::vector<double> shares;
  std::vector<double> rank_loads;
  std::vector<int32_t> bottleneck;
};

Split SplitOf(const Layer& layer) {
  ShareSolver solver;
  solver.Prepare(static_cast<int>(layer.loads.size()), layer.topology);
  Split split;
  split.shares.assign(layer.slots.size(), -1.0);
  split.peak = solver.Solve(layer.loads, layer.slots, layer.topology, split.shares);
  split.rank_loads.assign(solver.rank_loads().begin(), solver.rank_loads().end());
  split.bottleneck.assign(solver.bottleneck_ranks().begin(), solver.bottleneck_ranks().end());
  return split;
}

Topology Ranks(TopologySpec spec) { return Topology::Create(spec).value(); }

testing::Matcher<std::vector<double>> AreShares(const std::vector<double>& shares) {
  return testing::Pointwise(testing::DoubleEq(), shares);
}

using Ids = std::vector<int32_t>;

TEST(ShareSolver, FillsTheCoolerHolderUpToTheLevelOfTheOther) {
  // Expert 0 with 6 is on both ranks; 5 and 1 are not. 12 in all: rank 0 takes 1 of the 6.
  const Split split =
      SplitOf({Ranks({.num_ranks = 2, .slots_per_rank = 2}), {6, 5, 1}, {0, 1, 2, 0}});
  EXPECT_DOUBLE_EQ(split.peak, 6.0);
  EXPECT_DOUBLE_EQ(split.shares[0], 1.0 / 6);
  EXPECT_EQ(split.shares[1], 1.0);
  EXPECT_EQ(split.shares[2], 1.0);
  EXPECT_DOUBLE_EQ(split.shares[3], 5.0 / 6);
  EXPECT_EQ(split.bottleneck, (Ids{0, 1}));
}

TEST(ShareSolver, LoadMovesAlongAChainOfSharedExperts) {
  // 0 is on ranks 0 and 1, 1 on ranks 1 and 2: rank 0, with 9 of its own, sheds all of expert 0 to
  // rank 1, which in turn sheds expert 1 to rank 2. Of 9 + 3 + 3 + 0, that is 9, 3, 3.
  const Split split =
      SplitOf({Ranks({.num_ranks = 3, .slots_per_rank = 2}), {3, 3, 9, 0}, {2, 0, 0, 1, 1, 3}});
  EXPECT_DOUBLE_EQ(split.peak, 9.0);
  EXPECT_THAT(split.shares, AreShares({1, 0, 1, 0, 1, 1}));
  EXPECT_EQ(split.bottleneck, (Ids{0}));
}

TEST(ShareSolver, ARankTakesLoadByItsSpeed) {
  const Split split = SplitOf(
      {Ranks({.num_ranks = 2, .slots_per_rank = 1, .rank_speed = {3.0, 1.0}}), {8}, {0, 0}});
  EXPECT_DOUBLE_EQ(split.peak, 2.0);
  EXPECT_DOUBLE_EQ(split.shares[0], 0.75);
  EXPECT_DOUBLE_EQ(split.shares[1], 0.25);
}

TEST(ShareSolver, EmptySlotsTakeNothing) {
  const Layer layer = {
      Ranks({.num_ranks = 3, .slots_per_rank = 2, .slots_of_rank = {2, 1, 2}, .dead_ranks = {2}}),
      {4, 2},
      {0, 1, 0, kNoExpert, kNoExpert, kNoExpert}};
  const Split split = SplitOf(layer);
  EXPECT_DOUBLE_EQ(split.peak, 3.0);
  EXPECT_THAT(split.shares, AreShares({0.25, 1, 0.75, 0, 0, 0}));
}

TEST(ShareSolver, DuplicatesOnARankShareWhatItTakes) {
  // Expert 0 is twice on rank 0 and once on rank 1, expert 1 twice on rank 1.
  const Split split =
      SplitOf({Ranks({.num_ranks = 2, .slots_per_rank = 3}), {8, 2, 0}, {0, 0, 2, 1, 0, 1}});
  EXPECT_DOUBLE_EQ(split.peak, 5.0);
  EXPECT_THAT(split.shares, AreShares({0.3125, 0.3125, 1, 0.5, 0.375, 0.5}));
}

TEST(ShareSolver, AnExpertWithoutLoadIsSplitEvenly) {
  const Split split =
      SplitOf({Ranks({.num_ranks = 2, .slots_per_rank = 2}), {0, 3, 1}, {0, 1, 0, 2}});
  EXPECT_THAT(split.shares, AreShares({0.5, 1, 0.5, 1}));
  const Split none = SplitOf({Ranks({.num_ranks = 2, .slots_per_rank = 1}), {0}, {0, 0}});
  EXPECT_EQ(none.peak, 0.0);
  EXPECT_THAT(none.shares, AreShares({0.5, 0.5}));
  EXPECT_TRUE(none.bottleneck.empty());
}

TEST(ShareSolver, OneRedundantSlotPerRankCanReachTheMean) {
  // The alias construction: 8 ranks of one expert and a filler of the next.
  const Split split = SplitOf(
      {Ranks({.num_ranks = 4, .slots_per_rank = 2}), {1, 2, 3, 10}, {0, 3, 1, 3, 2, 3, 3, 0}});
  EXPECT_DOUBLE_EQ(split.peak, 4.0);
  EXPECT_EQ(split.bottleneck, (Ids{0, 1, 2, 3}));
}

/// Up to 10 experts on up to 7 ranks of any slots and speeds, some dead; duplicates too.
Layer RandomLayer(std::mt19937_64& random) {
  const int num_ranks = Draw(random, 1, 7);
  const int slots_per_rank = Draw(random, 1, 4);
  TopologySpec spec = {.num_ranks = num_ranks, .slots_per_rank = slots_per_rank};
  const bool has_speeds = Draw(random, 0, 1) == 1;
  const bool has_slots = Draw(random, 0, 1) == 1;
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (has_speeds) spec.rank_speed.push_back(0.25 * Draw(random, 1, 9));
    if (has_slots) spec.slots_of_rank.push_back(Draw(random, 1, slots_per_rank));
    if (rank > 0 && Draw(random, 0, 9) == 0) spec.dead_ranks.push_back(rank);
  }
  if (has_slots) spec.slots_of_rank[Draw(random, 0, num_ranks - 1)] = slots_per_rank;
  Layer layer = {.topology = Ranks(spec), .loads = {}, .slots = {}};
  const int num_experts = Draw(random, 1, std::min(10, layer.topology.num_live_slots()));
  layer.loads = LogNormalLoads(random, num_experts, 0.5 * Draw(random, 0, 6));
  for (double& load : layer.loads) {
    if (Draw(random, 0, 9) == 0) load = 0.0;
    if (Draw(random, 0, 3) == 0) load = std::floor(load / 500.0);
  }
  Ids experts(layer.topology.num_live_slots());
  for (size_t i = 0; i < experts.size(); ++i) {
    experts[i] =
        i < layer.loads.size() ? static_cast<int32_t>(i) : Draw(random, 0, num_experts - 1);
  }
  for (size_t i = experts.size() - 1; i > 0; --i) {
    std::swap(experts[i], experts[Draw(random, 0, static_cast<int>(i))]);
  }
  for (int slot = 0; slot < layer.topology.num_slots(); ++slot) {
    layer.slots.push_back(layer.topology.is_live_slot(slot) ? experts.back() : kNoExpert);
    if (layer.topology.is_live_slot(slot)) experts.pop_back();
  }
  return layer;
}

/// The least maximum of any split: over all sets of experts, their load by the speed of all ranks
/// that hold any of them (maximum flow is minimum cut).
double LeastPeak(const Layer& layer) {
  double peak = 0.0;
  for (uint32_t set = 1; set < (1U << layer.loads.size()); ++set) {
    double load = 0.0;
    for (size_t e = 0; e < layer.loads.size(); ++e)
      load += (set >> e & 1) != 0 ? layer.loads[e] : 0;
    double speed = 0.0;
    for (int rank = 0; rank < layer.topology.num_ranks(); ++rank) {
      bool holds = false;
      for (int i = 0; i < layer.topology.live_slots(rank); ++i) {
        holds |= (set >> layer.slots[layer.topology.first_slot_of_rank(rank) + i] & 1) != 0;
      }
      speed += holds ? layer.topology.speed(rank) : 0.0;
    }
    peak = std::max(peak, load / speed);
  }
  return peak;
}

void ExpectSharesOfALayer(const Layer& layer, const Split& split) {
  std::vector<double> sums(layer.loads.size(), 0.0);
  for (size_t slot = 0; slot < layer.slots.size(); ++slot) {
    ASSERT_GE(split.shares[slot], 0.0);
    if (layer.slots[slot] == kNoExpert) {
      ASSERT_EQ(split.shares[slot], 0.0);
    } else {
      sums[layer.slots[slot]] += split.shares[slot];
    }
  }
  for (const double sum : sums) ASSERT_NEAR(sum, 1.0, 1e-12);
}

/// Where no expert has load on a rank hotter than another of its holders, no split has a smaller
/// sum of squares, and none is fairer.
void ExpectFairest(const Layer& layer, const Split& split) {
  std::vector<double> coolest(layer.loads.size(), 1e300);
  const auto level = [&](int slot) {
    const int rank = layer.topology.rank_of_slot(slot);
    return split.rank_loads[rank] / layer.topology.speed(rank);
  };
  for (int slot = 0; slot < layer.topology.num_slots(); ++slot) {
    const int32_t expert = layer.slots[slot];
    if (expert != kNoExpert) coolest[expert] = std::min(coolest[expert], level(slot));
  }
  for (int slot = 0; slot < layer.topology.num_slots(); ++slot) {
    const int32_t expert = layer.slots[slot];
    if (expert == kNoExpert || split.shares[slot] * layer.loads[expert] == 0.0) continue;
    ASSERT_LE(level(slot), coolest[expert] + 1e-9 * split.peak) << "slot " << slot;
  }
}

/// The load that ranks of the bottleneck alone can take is all that they have.
void ExpectBottleneck(const Layer& layer, const Split& split) {
  double load = 0.0;
  double speed = 0.0;
  std::vector<bool> is_inside(layer.topology.num_ranks(), false);
  for (const int32_t rank : split.bottleneck) {
    is_inside[rank] = true;
    speed += layer.topology.speed(rank);
  }
  std::vector<bool> leaves(layer.loads.size(), false);
  for (int slot = 0; slot < layer.topology.num_slots(); ++slot) {
    if (layer.slots[slot] == kNoExpert) continue;
    if (!is_inside[layer.topology.rank_of_slot(slot)]) leaves[layer.slots[slot]] = true;
  }
  for (size_t e = 0; e < layer.loads.size(); ++e) load += leaves[e] ? 0.0 : layer.loads[e];
  if (split.peak > 0.0) {
    ASSERT_NEAR(load / speed / split.peak, 1.0, 1e-6);
  }
}

TEST(ShareSolver, NoSplitHasASmallerMaximumOrIsFairer) {
  int num_weighted = 0;
  for (int seed = 0; seed < Scaled(4000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const Layer layer = RandomLayer(random);
    const Split split = SplitOf(layer);
    const double least = LeastPeak(layer);
    ASSERT_NEAR(split.peak, least, 1e-9 * least);
    ExpectSharesOfALayer(layer, split);
    ExpectFairest(layer, split);
    ExpectBottleneck(layer, split);
    if (HasFatalFailure()) return;
    ScoreWorkspace workspace;
    const double total = std::accumulate(layer.loads.begin(), layer.loads.end(), 0.0);
    const double mean = total / layer.topology.total_speed();
    const auto imbalance = [&](std::span<const double> shares) {
      return Imbalance({layer.loads.data(), 1, layer.loads.size()}, layer.slots, shares,
                       layer.topology, {}, workspace);
    };
    if (total == 0.0) continue;
    ASSERT_NEAR(imbalance(split.shares), split.peak / mean, 1e-12 * split.peak / mean);
    ASSERT_LE(imbalance(split.shares), imbalance({}) + 1e-9);
    num_weighted += imbalance(split.shares) < 0.99 * imbalance({}) ? 1 : 0;
  }
  EXPECT_GT(num_weighted, Scaled(4000) / 4);
}

TEST(ShareSolver, LargeLayersAreSplitFairlyToo) {
  const std::vector<LayerShape> shapes = {
      {.num_experts = 256, .num_ranks = 32, .slots_per_rank = 9},
      {.num_experts = 256, .num_ranks = 64, .slots_per_rank = 5},
      {.num_experts = 1024, .num_ranks = 1024, .slots_per_rank = 2},
      {.num_experts = 8, .num_ranks = 200, .slots_per_rank = 3},
      {.num_experts = 300, .num_ranks = 20, .slots_per_rank = 30}};
  for (int seed = 0; seed < Scaled(10); ++seed) {
    for (const LayerShape& shape : shapes) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(shape.num_ranks));
      std::mt19937_64 random(seed);
      TopologySpec spec = {.num_ranks = shape.num_ranks, .slots_per_rank = shape.slots_per_rank};
      if (seed % 2 == 1) {
        for (int r = 0; r < shape.num_ranks; ++r) spec.rank_speed.push_back(Draw(random, 1, 3));
      }
      const Layer layer = {.topology = Ranks(spec),
                           .loads = LogNormalLoads(random, shape.num_experts, 1.0 + seed % 3),
                           .slots = RandomSlots(random, shape)};
      const Split split = SplitOf(layer);
      ExpectSharesOfALayer(layer, split);
      ExpectFairest(layer, split);
      ExpectBottleneck(layer, split);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace steelyard
