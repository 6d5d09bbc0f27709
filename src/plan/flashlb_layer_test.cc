#include "plan/flashlb_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/test_scale.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

using Slots = std::vector<int32_t>;

Span2<const double> Bins(const LayerShape& shape, const std::vector<double>& bins) {
  return {std::span<const double>(bins), static_cast<size_t>(shape.num_bins),
          static_cast<size_t>(shape.num_experts)};
}

FlashlbLayer LayerWith(const LayerShape& shape, const std::vector<double>& bins) {
  FlashlbLayer layer;
  layer.Prepare(shape);
  layer.SetLoads(Bins(shape, bins));
  return layer;
}

// FlashLB's own example: counts that are the best expert by expert leave a rank with 232 tokens.
TEST(FlashlbLayer, TriesOtherCountsThanTheGreedyOnes) {
  const LayerShape shape = {.num_experts = 8, .num_ranks = 8, .slots_per_rank = 2, .num_bins = 1};
  const std::vector<double> tokens = {600, 560, 120, 120, 20, 10, 10, 10};
  FlashlbLayer layer = LayerWith(shape, tokens);
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

/// Calls check(instance, layer, slots, imbalance) with what is planned for each of many instances.
template <typename Check>
void ForRandomPlans(const Check& check) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case instance = RandomCase(seed);
    FlashlbLayer layer = LayerWith(instance.shape, instance.bins);
    Slots slots(instance.shape.num_slots());
    const double imbalance = layer.Plan(instance.current, slots);
    check(instance, layer, slots, imbalance);
    if (testing::Test::HasFatalFailure()) return;
  }
}

/// One copy each, and every further one to the highest score per copy, of equals to the first in
/// FlashLB's order.
Slots GreedyCopies(const LayerShape& shape, std::span<const double> scores) {
  Slots order(shape.num_experts);
  FlashlbOrder().SortDescending(scores, order);
  Slots copies(shape.num_experts, 1);
  for (int slot = shape.num_experts; slot < shape.num_slots(); ++slot) {
    const auto below = [&](int32_t a, int32_t b) {
      if (copies[a] == shape.num_ranks || copies[b] == shape.num_ranks) {
        return copies[a] == shape.num_ranks && copies[b] < shape.num_ranks;
      }
      return scores[a] / copies[a] < scores[b] / copies[b];
    };
    ++copies[*std::max_element(order.begin(), order.end(), below)];
  }
  return copies;
}

TEST(FlashlbLayer, IsNeverWorseThanTheGreedyCounts) {
  ForRandomPlans(
      [](const Case& instance, FlashlbLayer& layer, const Slots& slots, double imbalance) {
        ASSERT_NEAR(imbalance, layer.Imbalance(slots), 1e-12);

        const LayerShape& shape = instance.shape;
        FlashlbLoads loads;
        loads.Prepare(shape);
        loads.Set(Bins(shape, instance.bins));
        FlashlbPacker packer;
        packer.Prepare(shape);
        Slots greedy(shape.num_slots());
        ASSERT_LE(imbalance,
                  packer.Pack(loads, GreedyCopies(shape, loads.scores()), greedy) * (1 + 1e-12));
      });
}

TEST(FlashlbLayer, PlannedAgainFromItsOwnPlanNothingMoves) {
  ForRandomPlans([](const Case& /*instance*/, FlashlbLayer& layer, const Slots& slots, double) {
    Slots again(slots.size());
    layer.Plan(slots, again);
    ASSERT_EQ(again, slots);
  });
}

TEST(FlashlbLayer, WhatStaysOnARankKeepsItsSlot) {
  ForRandomPlans([](const Case& instance, FlashlbLayer&, const Slots& slots, double) {
    for (int slot = 0; slot < instance.shape.num_slots(); ++slot) {
      const int rank = slot / instance.shape.slots_per_rank;
      if (RankHolds(instance.shape, slots, rank, instance.current[slot])) {
        ASSERT_EQ(slots[slot], instance.current[slot]) << "slot " << slot;
      }
    }
  });
}

}  // namespace
}  // namespace steelyard
