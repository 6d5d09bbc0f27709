#include "plan/flashlb_pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/test_scale.h"
#include "plan/golden_test_util.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

using Slots = std::vector<int32_t>;

FlashlbLoads LoadsOf(const LayerShape& shape, const std::vector<double>& bins) {
  FlashlbLoads loads;
  loads.Prepare(shape);
  loads.Set(Span2<const double>(std::span<const double>(bins), shape.num_bins, shape.num_experts));
  return loads;
}

struct Packed {
  Slots slots;
  double imbalance;
};

Packed Pack(const LayerShape& shape, const FlashlbLoads& loads, const Slots& copies) {
  FlashlbPacker packer;
  packer.Prepare(shape);
  Packed packed{.slots = Slots(shape.num_slots()), .imbalance = 0.0};
  packed.imbalance = packer.Pack(loads, copies, packed.slots);
  return packed;
}

TEST(FlashlbLoads, HaveOneTokenMoreAndTheSpreadOfASample) {
  const LayerShape shape = {.num_experts = 2, .num_ranks = 2, .slots_per_rank = 1, .num_bins = 3};
  const FlashlbLoads loads = LoadsOf(shape, {9, 4, 19, 4, 29, 4});
  EXPECT_EQ(loads.means()[0], 20.0);
  EXPECT_EQ(loads.scores()[0], 20.0 + 0.674 * 10.0);  // (100 + 0 + 100) / 2 is 10 squared
  EXPECT_EQ(loads.deviations(0)[2], 10.0);
  EXPECT_EQ(loads.scores()[1], 5.0);
}

TEST(FlashlbLoads, HaveNoSpreadInOneBin) {
  const LayerShape shape = {.num_experts = 2, .num_ranks = 2, .slots_per_rank = 1, .num_bins = 1};
  EXPECT_EQ(LoadsOf(shape, {9, 4}).scores()[0], 10.0);
}

TEST(FlashlbLoads, ImbalanceIsTheMeanOverTheBinsOfTheirOwn) {
  const LayerShape shape = {.num_experts = 2, .num_ranks = 2, .slots_per_rank = 1, .num_bins = 2};
  FlashlbLoads loads = LoadsOf(shape, {29, 9, 0, 0});
  // 30 of a mean of 20, and 1 of 1.
  EXPECT_EQ(loads.Imbalance(Slots{0, 1}), 1.25);
}

// Experts 0 and 1 are busy in the first bin, 2 and 3 in the second; all have the same mean.
TEST(FlashlbPack, ExpertsThatAreBusyTogetherArePlacedApart) {
  const LayerShape shape = {.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2, .num_bins = 2};
  const FlashlbLoads loads = LoadsOf(shape, {30, 30, 10, 10, 10, 10, 30, 30});
  const Packed packed = Pack(shape, loads, {1, 1, 1, 1});
  EXPECT_EQ(packed.slots, (Slots{0, 2, 1, 3}));
  EXPECT_EQ(packed.imbalance, 1.0);
}

TEST(FlashlbPack, CopiesShareTheLoadAndGoToDifferentRanks) {
  const LayerShape shape = {.num_experts = 3, .num_ranks = 2, .slots_per_rank = 2, .num_bins = 1};
  const FlashlbLoads loads = LoadsOf(shape, {99, 39, 19});
  const Packed packed = Pack(shape, loads, {2, 1, 1});
  EXPECT_EQ(packed.slots, (Slots{0, 1, 0, 2}));
  EXPECT_EQ(packed.imbalance, 90.0 / 80.0);
}

// Expert 0 is alone on rank 0 until the other rank is full.
TEST(FlashlbPack, ACopyThatNoRankWithRoomLacksBecomesADuplicate) {
  const LayerShape shape = {.num_experts = 5, .num_ranks = 2, .slots_per_rank = 3, .num_bins = 1};
  const FlashlbLoads loads = LoadsOf(shape, {99, 39, 29, 19, 9});
  EXPECT_EQ(Pack(shape, loads, {1, 1, 1, 1, 2}).slots, (Slots{0, 4, 4, 1, 2, 3}));
}

TEST(FlashlbPack, ReturnsTheImbalanceOfWhatItPlaced) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, Draw(random, 1, 5));
    std::vector<double> bins =
        LogNormalLoads(random, static_cast<size_t>(shape.num_bins) * shape.num_experts, 1.0);
    FlashlbLoads loads = LoadsOf(shape, bins);
    Slots copies(shape.num_experts);
    for (const int32_t expert : ContiguousSlots(shape)) ++copies[expert];
    const Packed packed = Pack(shape, loads, copies);
    for (int expert = 0; expert < shape.num_experts; ++expert) {
      ASSERT_EQ(std::count(packed.slots.begin(), packed.slots.end(), expert), copies[expert]);
    }
    ASSERT_NEAR(packed.imbalance, loads.Imbalance(packed.slots), 1e-12);
  }
}

std::set<std::set<int32_t>> ExpertsByRank(const Slots& slots, int slots_per_rank) {
  std::set<std::set<int32_t>> ranks;
  for (auto rank = slots.begin(); rank != slots.end(); rank += slots_per_rank) {
    ranks.emplace(rank, rank + slots_per_rank);
  }
  return ranks;
}

// Given the reference's counts, ties in the load per copy included.
TEST(FlashlbPack, FillsRanksAsTheReferenceDoes) {
  int num_planned = 0;
  for (const Json& golden : GoldenCases("flashlb.json")) {
    const LayerShape shape = {.num_experts = golden["num_experts"],
                              .num_ranks = golden["num_ranks"],
                              .slots_per_rank = golden["slots_per_rank"],
                              .num_bins = golden["num_bins"]};
    for (int layer_idx = 0; layer_idx < golden["num_layers"].get<int>(); ++layer_idx) {
      if (golden["new_placement"][layer_idx] == golden["old_placement"][layer_idx]) continue;
      SCOPED_TRACE(golden["name"].get<std::string>() + " layer " + std::to_string(layer_idx));
      ++num_planned;
      std::vector<double> bins;
      for (const Json& bin : golden["expert_load"]) {
        for (const Json& tokens : bin[layer_idx]) bins.push_back(tokens);
      }
      const Slots theirs = GoldenSlots(golden["new_placement"][layer_idx]);
      Slots copies(shape.num_experts);
      for (const int32_t expert : theirs) ++copies[expert];
      const Packed packed = Pack(shape, LoadsOf(shape, bins), copies);
      EXPECT_EQ(ExpertsByRank(packed.slots, shape.slots_per_rank),
                ExpertsByRank(theirs, shape.slots_per_rank));
    }
  }
  EXPECT_EQ(num_planned, 39);
}

}  // namespace
}  // namespace steelyard
