#include "plan/flashlb_layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/test_scale.h"
#include "plan/score.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

using Slots = std::vector<int32_t>;

Span2<const double> Bins(const LayerShape& shape, const std::vector<double>& bins) {
  return {std::span<const double>(bins), static_cast<size_t>(shape.num_bins),
          static_cast<size_t>(shape.num_experts)};
}

// FlashLB's own example: counts that are the best expert by expert leave a rank with 232 tokens.
TEST(FlashlbLayer, TriesOtherCountsThanTheGreedyOnes) {
  const LayerShape shape = {.num_experts = 8, .num_ranks = 8, .slots_per_rank = 2, .num_bins = 1};
  const std::vector<double> tokens = {600, 560, 120, 120, 20, 10, 10, 10};
  FlashlbLayer layer;
  layer.Prepare(shape);
  layer.SetLoads(Bins(shape, tokens));
  Slots slots(shape.num_slots());
  const double imbalance = layer.Plan(ContiguousSlots(shape), slots);
  EXPECT_EQ(imbalance, layer.Imbalance(slots));
  // 1458 tokens, one more for each expert included, on 8 ranks.
  EXPECT_LT(imbalance * 1458 / 8, 210);
}

struct Case {
  LayerShape shape;
  std::vector<double> bins;
  Slots current;
};

Case RandomCase(int seed) {
  std::mt19937_64 random(seed);
  const LayerShape shape = RandomShape(random, Draw(random, 1, 5));
  const size_t num_loads = static_cast<size_t>(shape.num_bins) * shape.num_experts;
  Case instance{.shape = shape,
                .bins = LogNormalLoads(random, num_loads, Draw(random, 0, 2)),
                .current = RandomSlots(random, shape)};
  for (double& tokens : instance.bins) tokens = std::floor(tokens * Draw(random, 8, 12) / 10);
  return instance;
}

TEST(FlashlbLayer, IsNeverWorseThanTheGreedyCounts) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case instance = RandomCase(seed);
    const LayerShape& shape = instance.shape;
    FlashlbLayer layer;
    layer.Prepare(shape);
    layer.SetLoads(Bins(shape, instance.bins));
    Slots slots(shape.num_slots());
    const double imbalance = layer.Plan(instance.current, slots);
    ASSERT_NEAR(imbalance, layer.Imbalance(slots), 1e-12);

    FlashlbLoads loads;
    loads.Prepare(shape);
    loads.Set(Bins(shape, instance.bins));
    Slots copies(shape.num_experts);
    ScoreWorkspace score;
    Apportion(loads.scores(), shape.num_ranks, shape.num_slots(), copies, score);
    FlashlbPacker packer;
    packer.Prepare(shape);
    ASSERT_LE(imbalance, packer.Pack(loads, copies, slots) * (1 + 1e-12));
  }
}

TEST(FlashlbLayer, PlannedAgainFromItsOwnPlanNothingMoves) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case instance = RandomCase(seed);
    FlashlbLayer layer;
    layer.Prepare(instance.shape);
    layer.SetLoads(Bins(instance.shape, instance.bins));
    Slots first(instance.shape.num_slots());
    Slots second = first;
    layer.Plan(instance.current, first);
    layer.Plan(first, second);
    ASSERT_EQ(second, first);
  }
}

TEST(FlashlbLayer, WhatStaysOnARankKeepsItsSlot) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case instance = RandomCase(seed);
    const LayerShape& shape = instance.shape;
    FlashlbLayer layer;
    layer.Prepare(shape);
    layer.SetLoads(Bins(shape, instance.bins));
    Slots slots(shape.num_slots());
    layer.Plan(instance.current, slots);
    for (int slot = 0; slot < shape.num_slots(); ++slot) {
      if (RankHolds(shape, slots, slot / shape.slots_per_rank, instance.current[slot])) {
        ASSERT_EQ(slots[slot], instance.current[slot]) << "slot " << slot;
      }
    }
  }
}

}  // namespace
}  // namespace steelyard
