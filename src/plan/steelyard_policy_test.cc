// What the `steelyard` policy promises of whole plans, over many random instances.
#include "plan/steelyard_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "base/count_allocations.h"
#include "base/test_scale.h"
#include "load/forecast.h"
#include "plan/deepseek_policy.h"
#include "plan/score.h"
#include "plan/steelyard_layer.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

struct Instance {
  Placement current;
  std::vector<LoadWindow> history = {};
  PlanOptions options = {};

  PlanInput Input() const { return {.current = &current, .history = history, .options = options}; }
};

LoadWindow RandomWindow(std::mt19937_64& random, const LoadShape& shape) {
  const double sigma = Draw(random, 0, 2);
  std::vector<double> counts = LogNormalLoads(random, shape.num_counts(), sigma);
  for (double& count : counts) count = Draw(random, 0, 9) == 0 ? 0.0 : std::floor(count);
  return LoadWindow::Create(shape, std::move(counts)).value();
}

Instance RandomInstance(uint64_t seed) {
  std::mt19937_64 random(seed);
  const LayerShape shape = RandomShape(random, 1);
  const Topology topology = Topology::Create(shape.num_ranks, shape.slots_per_rank).value();
  const LoadShape load_shape = {.num_bins = Draw(random, 1, 4),
                                .num_phases = Draw(random, 1, 2),
                                .num_layers = Draw(random, 1, 4),
                                .num_experts = shape.num_experts};
  std::vector<int32_t> slots;
  for (int layer_idx = 0; layer_idx < load_shape.num_layers; ++layer_idx) {
    const std::vector<int32_t> layer =
        Draw(random, 0, 3) == 0 ? ContiguousSlots(shape) : RandomSlots(random, shape);
    slots.insert(slots.end(), layer.begin(), layer.end());
  }
  Instance instance = {
      .current =
          Placement::Create(topology, shape.num_experts, slots, DuplicateRule::kRefuse).value()};
  for (int t = Draw(random, 1, 4); t > 0; --t) {
    instance.history.push_back(RandomWindow(random, load_shape));
  }
  instance.options.price = 0.1 * Draw(random, 0, 6);
  instance.options.gate = Draw(random, 0, 1) * 0.01;
  instance.options.recency = 0.5 + 0.1 * Draw(random, 0, 5);
  return instance;
}

Plan PlanOf(const Instance& instance, Executor& executor = Executor::Inline()) {
  PolicyState state;
  Result<Plan> plan =
      MakeSteelyardPolicy()->MakePlan(instance.Input(), state, {.executor = &executor});
  EXPECT_TRUE(plan.ok()) << plan.status().ToString();
  return std::move(plan).value();
}

TEST(SteelyardPolicy, APlanIsAFixedPoint) {
  int num_changed = 0;
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Instance instance = RandomInstance(seed);
    const Plan plan = PlanOf(instance);
    num_changed += plan.moves > 0 ? 1 : 0;
    instance.current = plan.placement;
    const Plan again = PlanOf(instance);
    ASSERT_EQ(again.moves, 0);
    ASSERT_EQ(again.placement, plan.placement);
  }
  EXPECT_GT(num_changed, Scaled(3000) / 2);
}

TEST(SteelyardPolicy, APlanOfALargeLayerIsAFixedPointFromNothingAndAfterADrift) {
  const std::vector<LayerShape> shapes = {
      {.num_experts = 64, .num_ranks = 8, .slots_per_rank = 9},
      {.num_experts = 256, .num_ranks = 32, .slots_per_rank = 9},
      {.num_experts = 100, .num_ranks = 80, .slots_per_rank = 2}};
  int num_changed = 0;
  for (int seed = 0; seed < Scaled(6); ++seed) {
    for (const LayerShape& shape : shapes) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(shape.num_experts));
      std::mt19937_64 random(seed);
      const LoadShape load_shape = {.num_bins = 1 + 2 * (seed % 2),
                                    .num_phases = 1,
                                    .num_layers = 2,
                                    .num_experts = shape.num_experts};
      Instance instance = {
          .current =
              Placement::Contiguous(Topology::Create(shape.num_ranks, shape.slots_per_rank).value(),
                                    load_shape.num_layers, shape.num_experts)
                  .value()};
      for (int cycle = 0; cycle < 3; ++cycle) {
        instance.history.push_back(RandomWindow(random, load_shape));
        const Plan plan = PlanOf(instance);
        num_changed += plan.moves > 0 ? 1 : 0;
        instance.current = plan.placement;
        ASSERT_EQ(PlanOf(instance).placement, plan.placement) << "cycle " << cycle;
      }
    }
  }
  EXPECT_GT(num_changed, 5);
}

/// The scenarios that a plan without memory was made on, [rows, num_experts].
std::vector<std::vector<double>> ForecastOf(const Instance& instance, int layer_idx,
                                            Predictor predictor) {
  Forecaster forecaster;
  BinScreen screen;
  forecaster.Prepare(instance.history[0].shape(), static_cast<int>(instance.history.size()));
  forecaster.Read(instance.history, screen.Screen(instance.history), layer_idx);
  const Span2<const double> rows = forecaster.Forecast(predictor, instance.options.recency);
  std::vector<std::vector<double>> scenarios;
  for (size_t t = 0; t < rows.num_rows(); ++t) {
    scenarios.emplace_back(rows.row(t).begin(), rows.row(t).end());
  }
  return scenarios;
}

/// The same and their hedges (docs/planning.md); of one scenario there are none.
std::vector<std::vector<double>> Hedged(std::vector<std::vector<double>> scenarios, int num_ranks) {
  if (scenarios.size() == 1) return scenarios;
  std::vector<double> sum(scenarios[0].size(), 0.0);
  for (const std::vector<double>& row : scenarios) {
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += row[e];
  }
  const double heaviest = *std::max_element(sum.begin(), sum.end());
  const double mean_rank = std::accumulate(sum.begin(), sum.end(), 0.0) / num_ranks;
  for (const double part : {0.7, 0.49}) {
    if (part * heaviest <= 0.5 * mean_rank) continue;
    std::vector<double>& hedge = scenarios.emplace_back(sum);
    for (double& load : hedge) load = 0.1 * std::min(load, part * heaviest);
  }
  return scenarios;
}

double ImbalanceOn(const std::vector<std::vector<double>>& scenarios, const Placement& placement,
                   int layer_idx) {
  std::vector<double> flat;
  for (const std::vector<double>& row : scenarios) flat.insert(flat.end(), row.begin(), row.end());
  ScoreWorkspace workspace;
  return Imbalance({flat.data(), scenarios.size(), scenarios[0].size()},
                   placement.slot_to_expert(layer_idx), {}, placement.topology(), {}, workspace);
}

TEST(SteelyardPolicy, NoLayerIsWorseThanKeptAndWhatIsMovedPaysItsPrice) {
  int num_priced = 0;
  int num_hedged = 0;
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Instance instance = RandomInstance(seed);
    const LoadShape& shape = instance.history[0].shape();
    const Plan plan = PlanOf(instance);
    const bool is_redundant = instance.current.num_slots() > shape.num_experts;
    const double price =
        (is_redundant ? 1.0 : 0.5) * instance.options.price / instance.current.num_slots();
    for (int layer_idx = 0; layer_idx < shape.num_layers; ++layer_idx) {
      SCOPED_TRACE("layer " + std::to_string(layer_idx));
      const LayerReport& report = plan.layers[layer_idx];
      if (report.verdict != LayerVerdict::kChanged) {
        ASSERT_EQ(report.moves, 0);
        continue;
      }
      const auto gain = [&](const std::vector<std::vector<double>>& scenarios) {
        return ImbalanceOn(scenarios, instance.current, layer_idx) -
               ImbalanceOn(scenarios, plan.placement, layer_idx);
      };
      const auto forecast = ForecastOf(instance, layer_idx, report.predictor);
      const auto hedged = Hedged(forecast, instance.current.topology().num_ranks());
      ASSERT_GE(gain(forecast), -1e-6);
      if (report.from_scratch) continue;
      ++num_priced;
      num_hedged += hedged.size() > forecast.size() ? 1 : 0;
      ASSERT_GE(gain(hedged), price * report.moves - 1e-6);
    }
  }
  EXPECT_GT(num_priced, Scaled(3000) / 4);
  EXPECT_GT(num_hedged, Scaled(3000) / 8);
}

TEST(SteelyardPolicy, WhatStaysOnARankStaysInItsSlot) {
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Instance instance = RandomInstance(seed);
    const Plan plan = PlanOf(instance);
    const Topology& topology = instance.current.topology();
    for (int layer_idx = 0; layer_idx < instance.current.num_layers(); ++layer_idx) {
      for (int rank = 0; rank < topology.num_ranks(); ++rank) {
        const std::vector<int32_t> was = ExpertMap(instance.current, layer_idx, rank);
        const std::vector<int32_t> is = ExpertMap(plan.placement, layer_idx, rank);
        for (int expert = 0; expert < instance.current.num_experts(); ++expert) {
          if (was[expert] >= 0 && is[expert] >= 0) {
            ASSERT_EQ(was[expert], is[expert]);
          }
        }
      }
    }
  }
}

TEST(SteelyardPolicy, AnyNumberOfThreadsMakesTheSamePlan) {
  const std::unique_ptr<Executor> two = Executor::Threads(2);
  const std::unique_ptr<Executor> eight = Executor::Threads(8);
  for (int seed = 0; seed < Scaled(100); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Instance instance = RandomInstance(seed);
    const Plan plan = PlanOf(instance);
    for (Executor* executor : {two.get(), eight.get()}) {
      const Plan other = PlanOf(instance, *executor);
      ASSERT_EQ(other.digest, plan.digest);
      ASSERT_EQ(other.placement, plan.placement);
    }
  }
}

TEST(SteelyardPolicy, APolicyThatHasPlannedBeforePlansAsANewOneDoes) {
  const std::unique_ptr<Policy> used = MakeSteelyardPolicy();
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Instance instance = RandomInstance(seed);
    PolicyState state;
    ASSERT_EQ(used->MakePlan(instance.Input(), state, {})->digest, PlanOf(instance).digest);
  }
}

TEST(SteelyardPolicy, ALayerWhoseDuplicatesALimitKeepsSaysSo) {
  // Rank 0 holds expert 0 twice in both layers; the second has nothing else to gain.
  Instance instance = {.current = Placement::Create(Topology::Create(2, 2).value(), 3,
                                                    {0, 0, 1, 2, 0, 0, 1, 2}, DuplicateRule::kAllow)
                                      .value()};
  const LoadShape shape = {.num_bins = 1, .num_phases = 1, .num_layers = 2, .num_experts = 3};
  instance.history.push_back(LoadWindow::Create(shape, {10, 30, 2, 20, 10, 10}).value());
  instance.options.limits.moves = 0;
  const Plan none = PlanOf(instance);
  instance.options.limits.moves = 1;
  const Plan one = PlanOf(instance);
  EXPECT_EQ(none.duplicates, 2);
  EXPECT_EQ(one.duplicates, 1);
  EXPECT_EQ(one.layers[0].verdict, LayerVerdict::kChanged);
  for (const LayerReport& report : {none.layers[0], none.layers[1], one.layers[1]}) {
    EXPECT_EQ(report.verdict, LayerVerdict::kKeptByLimit);
    EXPECT_EQ(report.limit, BindingLimit::kMoves);
  }
  // One of the layer itself comes first, whatever the plan may move.
  for (const int64_t moves : {int64_t{1}, MoveLimits::kNone}) {
    instance.options.limits = {.moves = moves, .per_receiving_rank = 0};
    const Plan plan = PlanOf(instance);
    EXPECT_EQ(plan.duplicates, 2);
    EXPECT_EQ(plan.layers[1].verdict, LayerVerdict::kKeptByLimit);
    EXPECT_EQ(plan.layers[1].limit, BindingLimit::kReceivingRank);
  }
}

TEST(SteelyardPolicy, NewerBinsCountForMore) {
  // One redundant slot, wanted by expert 1 in one window and by expert 2 in the other.
  const LoadShape shape = {.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 3};
  const LoadWindow one = LoadWindow::Create(shape, {2, 10, 2}).value();
  const LoadWindow two = LoadWindow::Create(shape, {2, 2, 10}).value();
  Instance instance = {.current =
                           Placement::Contiguous(Topology::Create(2, 2).value(), 1, 3).value()};
  instance.options.predictor = Predictor::kRecency;
  instance.history = {one, two};
  EXPECT_EQ(LogicalToPhysical(PlanOf(instance).placement, 0)[2].size(), 2U);
  instance.history = {two, one};
  EXPECT_EQ(LogicalToPhysical(PlanOf(instance).placement, 0)[1].size(), 2U);
}

Plan PlanOfOneLayer(std::vector<double> loads, int num_ranks, int slots_per_rank) {
  const LoadShape shape = {.num_bins = 1,
                           .num_phases = 1,
                           .num_layers = 1,
                           .num_experts = static_cast<int>(loads.size())};
  Instance instance = {
      .current = Placement::Contiguous(Topology::Create(num_ranks, slots_per_rank).value(), 1,
                                       shape.num_experts)
                     .value()};
  instance.history = {LoadWindow::Create(shape, std::move(loads)).value()};
  return PlanOf(instance);
}

// 1.1 is the least that six slots leave, and the contiguous layout has it.
TEST(SteelyardPolicy, NothingMovesForAGainOfRounding) {
  EXPECT_EQ(PlanOfOneLayer({1, 2, 3, 4}, 2, 3).moves, 0);
}

TEST(SteelyardPolicy, LoadsTooSmallToTellApartMoveNothing) {
  EXPECT_EQ(PlanOfOneLayer({5e-324, 0, 0, 0}, 2, 3).moves, 0);
  EXPECT_EQ(PlanOfOneLayer({1e-310, 2e-310, 0, 1e-310}, 2, 3).moves, 0);
}

TEST(SteelyardPolicy, MoreSlotsOnARankThanExpertsAreRefused) {
  const Topology topology = Topology::Create(2, 3).value();
  const Placement current =
      Placement::Create(topology, 2, {0, 1, 0, 1, 0, 1}, DuplicateRule::kAllow).value();
  const LoadWindow window(
      LoadShape{.num_bins = 1, .num_phases = 1, .num_layers = 1, .num_experts = 2});
  PolicyState state;
  const Result<Plan> plan = MakeSteelyardPolicy()->MakePlan(
      {.current = &current, .history = {&window, 1}, .options = {}}, state, {});
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().message(), "3 slots on a rank are more than 2 experts");
}

/// 256 experts on 32 ranks x 9 slots: a load, and the same after a drift.
class DriftedLoad : public testing::Test {
 protected:
  static constexpr int kNumLayers = 12;

  DriftedLoad() {
    std::mt19937_64 random(1);
    const LoadShape shape = {
        .num_bins = 1, .num_phases = 1, .num_layers = kNumLayers, .num_experts = 256};
    std::vector<double> a = LogNormalLoads(random, shape.num_counts(), 1.0);
    const std::vector<double> b = LogNormalLoads(random, shape.num_counts(), 1.0);
    before_ = LoadWindow::Create(shape, a).value();
    for (size_t i = 0; i < a.size(); ++i) a[i] = 0.8 * a[i] + 0.2 * b[i];
    after_ = LoadWindow::Create(shape, a).value();
  }

  Plan MakePlan(Policy& policy, const Placement& current, const LoadWindow& window) {
    PolicyState state;
    return policy.MakePlan({.current = &current, .history = {&window, 1}, .options = {}}, state, {})
        .value();
  }

  const Placement contiguous_ =
      Placement::Contiguous(Topology::Create(32, 9).value(), kNumLayers, 256).value();
  LoadWindow before_;
  LoadWindow after_;
};

TEST_F(DriftedLoad, IsRepairedWithinABreathOfTheReferenceAtAFifthOfItsMoves) {
  const std::unique_ptr<Policy> steelyard = MakeSteelyardPolicy();
  const std::unique_ptr<Policy> deepseek = MakeDeepseekPolicy();
  const Plan first = MakePlan(*steelyard, contiguous_, before_);
  EXPECT_LE(first.imbalance_after(), 1.01);
  const Plan ours = MakePlan(*steelyard, first.placement, after_);
  const Plan theirs =
      MakePlan(*deepseek, MakePlan(*deepseek, contiguous_, before_).placement, after_);
  EXPECT_LE(ours.imbalance_after(), theirs.imbalance_after() + 0.01);
  EXPECT_LE(ours.imbalance_after(), 1.012);
  EXPECT_LE(ours.moves, 3200 * kNumLayers / 58);
  EXPECT_LE(5 * ours.moves, theirs.moves);
}

TEST_F(DriftedLoad, TakesNoMemoryForALayer) {
  std::mt19937_64 random(2);
  const LayerShape shape = {.num_experts = 64, .num_ranks = 8, .slots_per_rank = 9, .num_bins = 4};
  const Topology topology = Topology::Create(shape.num_ranks, shape.slots_per_rank).value();
  LayerPlanner planner;
  planner.Prepare(shape, topology);
  std::vector<int32_t> slots(shape.num_slots());
  for (const bool contiguous : {true, false}) {
    const std::vector<double> loads = LogNormalLoads(random, 4 * 64, 1.0);
    const std::vector<int32_t> current =
        contiguous ? ContiguousSlots(shape) : RandomSlots(random, shape);
    const int64_t before = NumAllocations();
    const LayerTask task = {.bins = {loads.data(), 4, 64},
                            .in_force = RowOf(shape, current),
                            .price = 0.3,
                            .gate = 0.005};
    const LayerDecision decision = planner.Plan(task, slots).value();
    EXPECT_EQ(NumAllocations() - before, 0);
    EXPECT_EQ(decision.verdict, LayerVerdict::kChanged);
    EXPECT_EQ(decision.from_scratch, contiguous);
  }
}

TEST_F(DriftedLoad, APreparedPolicyTakesMemoryForItsPlanAlone) {
  const std::unique_ptr<Policy> policy = MakeSteelyardPolicy();
  ASSERT_TRUE(policy->Prepare(contiguous_, before_.shape(), 1, 1).ok());
  const int64_t before = NumAllocations();
  const Plan plan = MakePlan(*policy, contiguous_, before_);
  const int64_t first = NumAllocations() - before;
  MakePlan(*policy, contiguous_, before_);
  EXPECT_EQ(NumAllocations() - before, 2 * first) << "the first plan took more";
  EXPECT_LE(first, kNumLayers + 20);
  EXPECT_GT(plan.moves, 0);
}

}  // namespace
}  // namespace steelyard
