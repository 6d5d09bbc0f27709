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
  Topology topology;
  std::vector<double> loads;
  SplitRule split = SplitRule::kEven;

  double MeanRankLoad() const {
    return std::accumulate(loads.begin(), loads.end(), 0.0) / topology.total_speed();
  }
  double LeastPeak() const { return SmallOptimum(topology, loads, split).Peak(); }
};

/// From nearly even loads to one dominant expert, with zeros and ties.
std::vector<double> RandomLoads(std::mt19937_64& random, int num_experts) {
  std::vector<double> loads = LogNormalLoads(random, num_experts, 0.5 * Draw(random, 1, 5));
  const bool has_ties = Draw(random, 0, 3) == 0;
  const bool has_zeros = Draw(random, 0, 3) == 0;
  for (double& load : loads) {
    load = has_ties ? std::floor(load / 400.0) : std::floor(load);
    if (has_zeros && Draw(random, 0, 3) == 0) load = 0.0;
  }
  loads[0] += 1.0;
  return loads;
}

/// Up to 8 experts on up to 4 ranks.
SmallLayer RandomSmallLayer(std::mt19937_64& random) {
  const int num_experts = Draw(random, 1, 8);
  const int num_ranks = Draw(random, 1, 4);
  const int fewest = (num_experts + num_ranks - 1) / num_ranks;
  const int slots_per_rank = std::min(num_experts, fewest + Draw(random, 0, 2));
  return {.topology = Topology::Create(num_ranks, slots_per_rank).value(),
          .loads = RandomLoads(random, num_experts)};
}

/// Up to 5 experts on up to 3 live ranks that differ in slots and speed, shares weighted or not.
SmallLayer RandomUnevenLayer(std::mt19937_64& random) {
  TopologySpec spec = {.num_ranks = Draw(random, 1, 4), .slots_per_rank = Draw(random, 1, 4)};
  for (int rank = 0; rank < spec.num_ranks; ++rank) {
    spec.slots_of_rank.push_back(Draw(random, 1, spec.slots_per_rank));
    spec.rank_speed.push_back(0.5 * Draw(random, 1, 4));
  }
  spec.slots_of_rank[0] = spec.slots_per_rank;
  if (spec.num_ranks == 4) spec.dead_ranks = {Draw(random, 1, 3)};
  SmallLayer layer = {.topology = Topology::Create(spec).value(), .loads = {}};
  const int num_experts = Draw(random, spec.slots_per_rank, std::max(5, spec.slots_per_rank));
  layer.loads = RandomLoads(random, std::min(num_experts, layer.topology.num_live_slots()));
  layer.split = Draw(random, 0, 1) == 0 ? SplitRule::kEven : SplitRule::kWeighted;
  return layer;
}

LayerReport PlanFromContiguous(const SmallLayer& layer) {
  const LoadShape shape = {.num_bins = 1,
                           .num_phases = 1,
                           .num_layers = 1,
                           .num_experts = static_cast<int>(layer.loads.size())};
  const Placement current = Placement::Contiguous(layer.topology, 1, shape.num_experts).value();
  const LoadWindow window = LoadWindow::Create(shape, layer.loads).value();
  PolicyState state;
  return MakePolicy("steelyard")
      .value()
      ->MakePlan({.current = &current, .history = {&window, 1}, .options = {.split = layer.split}},
                 state, {})
      .value()
      .layers[0];
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
    const double peak = PlanFromContiguous(layer).imbalance_after * layer.MeanRankLoad();
    const double least = layer.LeastPeak();
    ASSERT_GE(peak, least * (1.0 - 1e-9));
    ASSERT_LE(peak, least * 1.15);
    sum += peak / least - 1.0;
  }
  EXPECT_LE(sum / count, 0.03);
}

void ExpectBoundsBelowOptima(SmallLayer (*make_layer)(std::mt19937_64&), int count) {
  int num_tight = 0;
  for (int seed = 0; seed < count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const SmallLayer layer = make_layer(random);
    const LayerReport report = PlanFromContiguous(layer);
    const double bound = report.lower_bound * layer.MeanRankLoad();
    const double least = layer.LeastPeak();
    ASSERT_LE(bound, least * (1.0 + 1e-9)) << layer.topology.ToString();
    ASSERT_GE(report.imbalance_after * layer.MeanRankLoad(), least * (1.0 - 1e-9));
    num_tight += bound > least * 0.999 ? 1 : 0;
  }
  EXPECT_GT(num_tight, count / 4);
}

TEST(SmallOptimum, IsNeverBelowTheLowerBound) {
  ExpectBoundsBelowOptima(RandomSmallLayer, Scaled(2000));
}

TEST(SmallOptimum, IsNeverBelowTheLowerBoundWhereRanksDifferOrSharesAreWeighted) {
  ExpectBoundsBelowOptima(RandomUnevenLayer, Scaled(1000));
}

}  // namespace
}  // namespace steelyard
