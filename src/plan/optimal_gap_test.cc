// How far plans are from the best placement there is, where that can be known.
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "base/test_scale.h"
#include "plan/optimum_test_util.h"
#include "plan/steelyard_test_util.h"
#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

struct SmallLayer {
  LayerShape shape;
  std::vector<double> loads;
};

/// Up to 8 experts on up to 4 ranks: from nearly even loads to one dominant expert, with zeros and
/// ties.
SmallLayer RandomSmallLayer(std::mt19937_64& random) {
  SmallLayer layer;
  layer.shape = {.num_experts = Draw(random, 1, 8), .num_ranks = Draw(random, 1, 4)};
  const int fewest = (layer.shape.num_experts + layer.shape.num_ranks - 1) / layer.shape.num_ranks;
  layer.shape.slots_per_rank = std::min(layer.shape.num_experts, fewest + Draw(random, 0, 2));
  layer.loads = LogNormalLoads(random, layer.shape.num_experts, 0.5 * Draw(random, 1, 5));
  const bool has_ties = Draw(random, 0, 3) == 0;
  const bool has_zeros = Draw(random, 0, 3) == 0;
  for (double& load : layer.loads) {
    load = has_ties ? std::floor(load / 400.0) : std::floor(load);
    if (has_zeros && Draw(random, 0, 3) == 0) load = 0.0;
  }
  layer.loads[0] += 1.0;
  return layer;
}

Plan PlanFromContiguous(const SmallLayer& layer) {
  const LoadShape shape = {
      .num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = layer.shape.num_experts};
  const Placement current =
      Placement::Contiguous(
          Topology::Create(layer.shape.num_ranks, layer.shape.slots_per_rank).value(), 1,
          shape.num_experts)
          .value();
  const LoadWindow window = LoadWindow::Create(shape, layer.loads).value();
  PolicyState state;
  return MakePolicy("steelyard")
      .value()
      ->MakePlan({.current = &current, .history = {&window, 1}}, state, {})
      .value();
}

double MeanRankLoad(const SmallLayer& layer) {
  const double total = std::accumulate(layer.loads.begin(), layer.loads.end(), 0.0);
  return total / layer.shape.num_ranks;
}

TEST(SmallOptimum, IsWhatCanBeSeenByHand) {
  const auto peak = [](const Topology& topology, const std::vector<double>& loads,
                       SplitRule split) { return SmallOptimum(topology, loads, split).Peak(); };
  const Topology two_by_two = Topology::Create(2, 2).value();
  EXPECT_EQ(peak(two_by_two, {2, 7, 2, 5}, SplitRule::kEven), 9.0);  // 7 + 2 against 5 + 2
  EXPECT_EQ(peak(two_by_two, {4, 6, 1}, SplitRule::kEven), 6.5);     // 6 + 1/2 against 4 + 1/2
  EXPECT_EQ(peak(two_by_two, {4, 6, 1}, SplitRule::kWeighted), 5.5);
  // Half of 8 on both, and 4 + 1/2 against 3 + 1/2.
  EXPECT_EQ(peak(Topology::Create(2, 3).value(), {8, 4, 3, 1}, SplitRule::kEven), 8.5);
  const Topology uneven = Topology::Create({.num_ranks = 3,
                                            .slots_per_rank = 2,
                                            .slots_of_rank = {1, 2, 2},
                                            .dead_ranks = {2},
                                            .rank_speed = {3, 1, 1}})
                              .value();
  EXPECT_EQ(peak(uneven, {9, 2, 1}, SplitRule::kEven), 3.0);  // 9 by 3, 2 + 1 by 1
}

TEST(SmallOptimum, PlansFromNothingAreNearIt) {
  const int count = Scaled(2000);
  double sum = 0.0;
  for (int seed = 0; seed < count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const SmallLayer layer = RandomSmallLayer(random);
    const Plan plan = PlanFromContiguous(layer);
    const double peak = plan.layers[0].imbalance_after * MeanRankLoad(layer);
    const double least =
        SmallOptimum(plan.placement.topology(), layer.loads, SplitRule::kEven).Peak();
    ASSERT_GE(peak, least * (1.0 - 1e-9));
    ASSERT_LE(peak, least * 1.21);
    sum += peak / least - 1.0;
  }
  EXPECT_LE(sum / count, 0.03);
}

TEST(SmallOptimum, IsNeverBelowTheLowerBound) {
  int num_tight = 0;
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const SmallLayer layer = RandomSmallLayer(random);
    const Plan plan = PlanFromContiguous(layer);
    const double bound = plan.layers[0].lower_bound * MeanRankLoad(layer);
    const double least =
        SmallOptimum(plan.placement.topology(), layer.loads, SplitRule::kEven).Peak();
    ASSERT_LE(bound, least * (1.0 + 1e-9));
    num_tight += bound > least * 0.999 ? 1 : 0;
  }
  EXPECT_GT(num_tight, Scaled(2000) / 4);
}

}  // namespace
}  // namespace steelyard
