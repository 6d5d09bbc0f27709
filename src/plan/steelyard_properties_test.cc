// What the `steelyard` policy promises for any ranks, limits, costs and splits, over many random
// instances. Everything is judged from nothing but its definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "base/test_scale.h"
#include "load/bin_screen.h"
#include "plan/score.h"
#include "plan/steelyard_policy.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

struct Instance {
  Placement current;
  Topology target;
  LoadWindow window;
  PlanOptions options = {};

  PlanInput Input() const {
    return {.current = &current, .history = {&window, 1}, .options = options, .target = &target};
  }
};

/// All kinds that have broken a planner somewhere: nothing, ties everywhere, one expert with nearly
/// all, few with load, skew.
std::vector<double> RandomLoads(std::mt19937_64& random, size_t count) {
  const int kind = Draw(random, 0, 5);
  std::vector<double> loads = LogNormalLoads(random, count, kind == 5 ? 2.0 : 1.0);
  for (double& load : loads) {
    if (kind == 0) load = 0.0;
    if (kind == 1) load = 7.0;
    if (kind == 3 && Draw(random, 0, 2) > 0) load = 0.0;
    load = std::floor(load);
  }
  if (kind == 2) loads[random() % count] = 1e7;
  return loads;
}

TopologySpec RandomSpec(std::mt19937_64& random, int num_experts) {
  TopologySpec spec;
  spec.num_ranks = Draw(random, 1, 12) == 1 ? 1 : Draw(random, 2, 8);
  spec.num_nodes = spec.num_ranks % 2 == 0 && Draw(random, 0, 1) == 1 ? 2 : 1;
  const int fewest = (num_experts + spec.num_ranks - 1) / spec.num_ranks;
  spec.slots_per_rank = std::min(num_experts, fewest + Draw(random, 0, 3));
  return spec;
}

/// Ranks of their own slots and speed, and dead ones, as far as the experts still find slots.
void MakeRanksDiffer(std::mt19937_64& random, int num_experts, TopologySpec& spec) {
  int spare = spec.num_ranks * spec.slots_per_rank - num_experts;
  if (Draw(random, 0, 2) == 0) {
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.rank_speed.push_back(Draw(random, 1, 4));
    }
  }
  if (Draw(random, 0, 2) == 0) {
    spec.slots_of_rank.assign(spec.num_ranks, spec.slots_per_rank);
    for (int rank = 1; rank < spec.num_ranks; ++rank) {
      const int fewer = std::min({spare, spec.slots_per_rank - 1, Draw(random, 0, 2)});
      spec.slots_of_rank[rank] -= fewer;
      spare -= fewer;
    }
  }
  const int dead = Draw(random, 0, spec.num_ranks - 1);
  const int slots = spec.slots_of_rank.empty() ? spec.slots_per_rank : spec.slots_of_rank[dead];
  if (Draw(random, 0, 2) == 0 && spec.num_ranks > 1 && slots <= spare) spec.dead_ranks = {dead};
}

/// A placement of `layers` layers, contiguous, random, or with duplicates.
Placement RandomPlacement(std::mt19937_64& random, const Topology& topology, int layers,
                          int num_experts) {
  std::vector<int32_t> slots;
  for (int layer_idx = 0; layer_idx < layers; ++layer_idx) {
    const int kind = Draw(random, 0, 3);
    std::vector<int32_t> layer;
    for (int slot = 0, live = 0; slot < topology.num_slots(); ++slot) {
      layer.push_back(topology.is_live_slot(slot) ? live++ % num_experts : kNoExpert);
    }
    for (int i = 0; kind > 0 && i < 5 * topology.num_slots(); ++i) {
      const int p = Draw(random, 0, topology.num_slots() - 1);
      const int q = Draw(random, 0, topology.num_slots() - 1);
      if (layer[p] < 0 || layer[q] < 0) continue;
      const auto count = [&](int rank, int32_t expert) {
        const auto begin = layer.begin() + topology.first_slot_of_rank(rank);
        return std::count(begin, begin + topology.slots_per_rank(), expert);
      };
      if (kind == 3 || (count(topology.rank_of_slot(p), layer[q]) == 0 &&
                        count(topology.rank_of_slot(q), layer[p]) == 0)) {
        std::swap(layer[p], layer[q]);
      }
    }
    slots.insert(slots.end(), layer.begin(), layer.end());
  }
  return Placement::Create(topology, num_experts, slots, DuplicateRule::kAllow).value();
}

void AddLimits(std::mt19937_64& random, PlanOptions& options) {
  const auto draw = [&](int64_t& limit, int high) {
    if (Draw(random, 0, 2) == 0) limit = Draw(random, 0, high);
  };
  draw(options.limits.moves, 12);
  draw(options.limits.per_rank_pair, 2);
  draw(options.limits.per_receiving_rank, 3);
  draw(options.limits.across_nodes, 3);
  if (Draw(random, 0, 3) == 0) {
    options.expert_bytes = 10;
    options.limits.bytes = Draw(random, 0, 90);
  }
}

Instance RandomInstance(uint64_t seed) {
  std::mt19937_64 random(seed);
  const int num_experts = Draw(random, 1, 16);
  TopologySpec spec = RandomSpec(random, num_experts);
  const Topology plain = Topology::Create(spec).value();
  if (Draw(random, 0, 1) == 1) MakeRanksDiffer(random, num_experts, spec);
  const Topology target = Topology::Create(spec).value();
  Topology before = Draw(random, 0, 1) == 1 ? target : plain;
  if (Draw(random, 0, 5) == 0) before = Topology::Create(RandomSpec(random, num_experts)).value();
  const LoadShape shape = {.num_bins = Draw(random, 0, 3) == 0 ? 3 : 1,
                           .num_phases = 1,
                           .num_layers = Draw(random, 1, 3),
                           .num_experts = num_experts};
  Instance instance = {
      .current = RandomPlacement(random, before, shape.num_layers, num_experts),
      .target = target,
      .window = LoadWindow::Create(shape, RandomLoads(random, shape.num_counts())).value()};
  instance.options.predictor = Predictor::kLast;
  instance.options.price = 0.1 * Draw(random, 0, 6);
  instance.options.gate = Draw(random, 0, 1) * 0.01;
  if (Draw(random, 0, 2) == 0) AddLimits(random, instance.options);
  const int kind = Draw(random, 0, 7);
  if (kind < 4) instance.options.split = SplitRule::kWeighted;
  if (kind == 2 || kind == 4) {
    instance.options.rank_cost = {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0};
  }
  if (kind == 3 || kind == 5) {
    instance.options.rank_cost = {.a = 50.0, .b = 800.0, .c = 100.0, .d = 1.0};
  }
  return instance;
}

/// Three bins for one and one for three, their loads a quarter off at most.
LoadWindow Later(const LoadWindow& window, uint64_t seed) {
  std::mt19937_64 random(seed);
  LoadShape shape = window.shape();
  shape.num_bins = shape.num_bins == 1 ? 3 : 1;
  std::vector<double> counts;
  for (int bin = 0; bin < shape.num_bins; ++bin) {
    for (int layer_idx = 0; layer_idx < shape.num_layers; ++layer_idx) {
      for (const double count : window.experts(0, 0, layer_idx)) {
        counts.push_back(std::floor(count * Draw(random, 75, 125) / 100.0));
      }
    }
  }
  return LoadWindow::Create(shape, std::move(counts)).value();
}

Result<Plan> PlanOf(const Instance& instance, Executor& executor = Executor::Inline()) {
  PolicyState state;
  return MakeSteelyardPolicy()->MakePlan(instance.Input(), state, {.executor = &executor});
}

std::set<int> HeldBy(const Placement& placement, int layer_idx, int rank) {
  std::set<int> held;
  if (rank >= placement.topology().num_ranks()) return held;
  const int begin = placement.topology().first_slot_of_rank(rank);
  for (int i = 0; i < placement.topology().live_slots(rank); ++i) {
    held.insert(placement.slot_to_expert(layer_idx)[begin + i]);
  }
  return held;
}

/// Whether each of `moves` finds a source so that none serves more than `limit`, by trying all.
bool SourcesExist(const std::vector<std::vector<int>>& sources, size_t move, int64_t limit,
                  std::vector<int64_t>& served) {
  if (move == sources.size()) return true;
  if (sources[move].empty()) return SourcesExist(sources, move + 1, limit, served);
  for (const int source : sources[move]) {
    if (served[source] == limit) continue;
    ++served[source];
    if (SourcesExist(sources, move + 1, limit, served)) return true;
    --served[source];
  }
  return false;
}

void ExpectWithinLimits(const Instance& instance, const Plan& plan) {
  const MoveLimits& limits = instance.options.limits;
  ASSERT_LE(plan.moves, limits.moves);
  if (limits.bytes != MoveLimits::kNone) {
    ASSERT_LE(plan.moves * instance.options.expert_bytes, limits.bytes);
  }
  const Topology& topology = instance.target;
  for (int layer_idx = 0; layer_idx < plan.placement.num_layers(); ++layer_idx) {
    std::set<std::pair<int, int>> crossings;
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const std::set<int> had = HeldBy(instance.current, layer_idx, rank);
      std::vector<std::vector<int>> sources;
      for (const int expert : HeldBy(plan.placement, layer_idx, rank)) {
        if (had.count(expert) > 0) continue;
        sources.emplace_back();
        bool on_node = false;
        for (int source = 0; source < topology.num_ranks(); ++source) {
          if (topology.is_dead(source)) continue;
          if (HeldBy(instance.current, layer_idx, source).count(expert) == 0) continue;
          sources.back().push_back(source);
          on_node = on_node || topology.node_of_rank(source) == topology.node_of_rank(rank);
        }
        if (!on_node) crossings.insert({topology.node_of_rank(rank), expert});
      }
      ASSERT_LE(static_cast<int64_t>(sources.size()), limits.per_receiving_rank);
      std::vector<int64_t> served(topology.num_ranks(), 0);
      ASSERT_TRUE(SourcesExist(sources, 0, limits.per_rank_pair, served)) << "rank " << rank;
    }
    ASSERT_LE(static_cast<int64_t>(crossings.size()), limits.across_nodes);
  }
}

/// With one bin what is moved pays its price; with several it may pay for hedges instead, but no
/// layer is worse than kept.
void ExpectPaysItsPrice(const Instance& instance, const Plan& plan) {
  BinScreen screen;
  const int num_bins = instance.window.shape().num_bins;
  screen.Prepare(num_bins, 1);
  const size_t num_planned_on = screen.Screen({&instance.window, 1}).size();
  // Reports are of the bins as they were: all, and with the tokens that each had.
  if (num_planned_on < static_cast<size_t>(num_bins)) return;
  if (num_bins > 1 && !instance.options.rank_cost.is_tokens()) return;
  const bool is_redundant = instance.target.num_live_slots() > instance.current.num_experts();
  const bool may_be_hedged = instance.window.shape().num_bins > 1;
  const double price = may_be_hedged ? 0.0
                                     : (is_redundant ? 1.0 : 0.5) * instance.options.price /
                                           instance.target.num_live_slots();
  for (const LayerReport& report : plan.layers) {
    ASSERT_LE(report.imbalance_after + (report.from_scratch ? 0.0 : price * report.moves),
              report.imbalance_before + 1e-6);
    if (report.verdict != LayerVerdict::kChanged) {
      ASSERT_EQ(report.moves, 0);
    }
  }
}

bool IsLimited(const Plan& plan) {
  return std::any_of(plan.layers.begin(), plan.layers.end(),
                     [](const LayerReport& report) { return report.limit != BindingLimit::kNone; });
}

struct Counts {
  int refused = 0;
  int limited = 0;
  int changed = 0;
  int fitted = 0;
};

void CheckInstance(uint64_t seed, Counts& counts) {
  Instance instance = RandomInstance(seed);
  const Result<Plan> result = PlanOf(instance);
  if (!result.ok()) {
    ASSERT_EQ(result.status().code(), StatusCode::kFailedPrecondition)
        << result.status().ToString();
    ASSERT_TRUE(instance.options.limits.any());
    ++counts.refused;
    return;
  }
  const Plan& plan = *result;
  counts.changed += plan.moves > 0 ? 1 : 0;
  counts.limited += IsLimited(plan) ? 1 : 0;
  ASSERT_EQ(plan.placement.has_shares(), instance.options.split == SplitRule::kWeighted);
  ASSERT_EQ(plan.placement.topology(), instance.target);
  const bool had_duplicates = instance.current.CountDuplicates() > 0;
  if (!had_duplicates || !instance.options.limits.any()) {
    ASSERT_EQ(plan.duplicates, 0);
  }
  ASSERT_LE(plan.duplicates, instance.current.CountDuplicates());
  ExpectWithinLimits(instance, plan);
  const bool keeping_is_allowed = instance.current.topology() == instance.target && !had_duplicates;
  if (keeping_is_allowed) ExpectPaysItsPrice(instance, plan);
  counts.fitted += keeping_is_allowed ? 0 : 1;
  if (IsLimited(plan) || plan.duplicates > 0) return;
  instance.current = plan.placement;
  const Result<Plan> again = PlanOf(instance);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  ASSERT_EQ(again->moves, 0);
  ASSERT_LE(again->imbalance_after(), again->imbalance_before() + 1e-6);
  ASSERT_EQ(again->placement, plan.placement);
  // The same experts a little later, in bins of which there was one before, or the other way round.
  instance.window = Later(instance.window, seed);
  const Result<Plan> later = PlanOf(instance);
  ASSERT_TRUE(later.ok()) << later.status().ToString();
  ExpectWithinLimits(instance, *later);
  ExpectPaysItsPrice(instance, *later);
}

TEST(SteelyardProperties, HoldForAnyRanksAndLimits) {
  Counts counts;
  const int num_instances = Scaled(10000);
  for (int seed = 0; seed < num_instances; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    CheckInstance(seed, counts);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(counts.changed, num_instances / 4);
  EXPECT_GT(counts.limited, num_instances / 50);
  EXPECT_GT(counts.fitted, num_instances / 10);
  EXPECT_GT(counts.refused, 0);
}

// A limit on moves to a rank stopped the repair, and nothing from scratch was better: the plan said
// that no limit was in the way.
TEST(SteelyardProperties, HoldForAnInstanceThatBrokeThem) {
  Counts counts;
  CheckInstance(21524, counts);
  EXPECT_EQ(counts.limited, 1);
}

TEST(SteelyardProperties, AnyNumberOfThreadsMakesTheSamePlan) {
  const std::unique_ptr<Executor> two = Executor::Threads(2);
  const std::unique_ptr<Executor> eight = Executor::Threads(8);
  for (int seed = 0; seed < Scaled(200); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Instance instance = RandomInstance(seed);
    const Result<Plan> plan = PlanOf(instance);
    for (Executor* executor : {two.get(), eight.get()}) {
      const Result<Plan> other = PlanOf(instance, *executor);
      ASSERT_EQ(other.ok(), plan.ok());
      if (!plan.ok()) {
        ASSERT_EQ(other.status().message(), plan.status().message());
        continue;
      }
      ASSERT_EQ(other->digest, plan->digest);
      ASSERT_EQ(other->placement, plan->placement);
    }
  }
}

}  // namespace
}  // namespace steelyard
