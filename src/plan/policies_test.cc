// Properties that every policy has, over many random instances: what a plan promises (I1, I2, I8)
// and what its report says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/test_scale.h"
#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

struct Instance {
  Placement current;
  std::vector<LoadWindow> history = {};
  PlanOptions options = {};
  std::string text = {};

  PlanInput Input() const { return {.current = &current, .history = history, .options = options}; }
};

int Between(std::mt19937& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
}

/// All kinds that have broken a planner somewhere: nothing, ties everywhere, one expert with nearly
/// everything, few tokens, a long tail.
double RandomTokens(std::mt19937& random, int kind, int expert, int num_experts) {
  switch (kind) {
    case 0:
      return 0;
    case 1:
      return 7;
    case 2:
      return expert == num_experts / 2 ? 100000 : static_cast<double>(random() % 2);
    case 3:
      return static_cast<double>(random() % 3);
    default:
      return std::floor(100 / (0.001 + static_cast<double>(random() % 1000) / 1000));
  }
}

LoadWindow RandomWindow(std::mt19937& random, const LoadShape& shape) {
  LoadWindow window(shape);
  for (int layer_idx = 0; layer_idx < shape.num_layers; ++layer_idx) {
    const int kind = Between(random, 0, 6);
    for (int t = 0; t < shape.num_bins; ++t) {
      for (int phase = 0; phase < shape.num_phases; ++phase) {
        const std::span<double> experts = window.experts(t, phase, layer_idx);
        for (int e = 0; e < shape.num_experts; ++e) {
          experts[e] = RandomTokens(random, kind, e, shape.num_experts);
        }
      }
    }
  }
  return window;
}

/// A random placement without duplicates, from the policy that is good at it.
Placement Shuffled(const Placement& placement, const LoadWindow& window, uint64_t seed) {
  PlanInput input{.current = &placement, .history = {&window, 1}};
  input.options.seed = seed;
  PolicyState state;
  return MakePolicy("random").value()->MakePlan(input, state, {}).value().placement;
}

/// Shapes include one rank, one expert, one slot per rank, no redundancy, and every expert on every
/// rank.
Instance RandomInstance(int seed) {
  std::mt19937 random(seed);
  const int num_nodes = Between(random, 1, 2);
  const int num_ranks = num_nodes * Between(random, 1, seed % 10 == 0 ? 16 : 4);
  const int experts_per_node = Between(random, 1, seed % 10 == 0 ? 40 : 10);
  const int num_experts = num_nodes * experts_per_node;
  const int fewest = (num_experts + num_ranks - 1) / num_ranks;
  int slots_per_rank = std::min(num_experts, fewest + Between(random, 0, 2));
  if (Between(random, 0, 9) == 0) {
    slots_per_rank = num_experts;
  }
  const LoadShape shape{.num_bins = Between(random, 1, 3),
                        .num_phases = Between(random, 1, 2),
                        .num_layers = Between(random, 1, 4),
                        .num_experts = num_experts};
  const Topology topology = Topology::Create(num_ranks, slots_per_rank, num_nodes).value();
  Instance instance{.current =
                        Placement::Contiguous(topology, shape.num_layers, num_experts).value()};
  for (int t = Between(random, 1, 3); t > 0; --t) {
    instance.history.push_back(RandomWindow(random, shape));
  }
  if (Between(random, 0, 1) == 0) {
    instance.current = Shuffled(instance.current, instance.history[0], seed);
  }
  instance.options.num_groups = Between(random, 0, 1) == 0 ? num_nodes : num_experts;
  instance.options.seed = static_cast<uint64_t>(seed);
  instance.text = "seed " + std::to_string(seed) + ": " + instance.current.ToString();
  return instance;
}

class EveryPolicy : public testing::TestWithParam<std::string_view> {
 protected:
  static constexpr int kNumSeeds = 400;

  std::unique_ptr<Policy> Make() const { return MakePolicy(GetParam()).value(); }
};

TEST_P(EveryPolicy, EveryExpertHasASlotAndNoRankHoldsOneTwice) {
  const std::unique_ptr<Policy> policy = Make();
  for (int seed = 0; seed < Scaled(kNumSeeds); ++seed) {
    const Instance instance = RandomInstance(seed);
    SCOPED_TRACE(instance.text);
    PolicyState state;
    const Result<Plan> plan = policy->MakePlan(instance.Input(), state, {});
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();
    ASSERT_EQ(plan->placement.topology(), instance.current.topology());
    ASSERT_EQ(plan->placement.num_experts(), instance.current.num_experts());
    // Checked anew, whatever the policy told Create().
    const std::span<const int32_t> slots = plan->placement.slot_to_expert();
    const bool may_duplicate =
        GetParam() == "deepseek" || GetParam() == "vllm" || GetParam() == "flashlb";
    const Result<Placement> checked = Placement::Create(
        plan->placement.topology(), plan->placement.num_experts(), {slots.begin(), slots.end()},
        may_duplicate ? DuplicateRule::kAllow : DuplicateRule::kRefuse);
    ASSERT_TRUE(checked.ok()) << checked.status().ToString();
    ASSERT_EQ(checked->num_layers(), instance.current.num_layers());
    ASSERT_EQ(plan->duplicates, checked->CountDuplicates());
  }
}

/// (expert, rank) pairs that `after` has and `before` has not, by looking at every pair.
int MovesByLooking(const Placement& before, const Placement& after, int layer_idx) {
  int num_moves = 0;
  for (int rank = 0; rank < before.topology().num_ranks(); ++rank) {
    const std::vector<int32_t> had = ExpertMap(before, layer_idx, rank);
    const std::vector<int32_t> has = ExpertMap(after, layer_idx, rank);
    for (size_t expert = 0; expert < has.size(); ++expert) {
      num_moves += has[expert] >= 0 && had[expert] < 0 ? 1 : 0;
    }
  }
  return num_moves;
}

/// Objective 5 with bins weighted alike, from each expert's slots rather than from each rank's.
double ImbalanceByLooking(const LoadWindow& window, const Placement& placement, int layer_idx) {
  const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(placement, layer_idx);
  double sum_max = 0;
  double sum_all = 0;
  for (int t = 0; t < window.shape().num_bins; ++t) {
    std::vector<double> rank_load(placement.topology().num_ranks());
    for (int phase = 0; phase < window.shape().num_phases; ++phase) {
      const std::span<const double> experts = window.experts(t, phase, layer_idx);
      for (size_t e = 0; e < slots.size(); ++e) {
        sum_all += experts[e];
        for (int32_t slot : slots[e]) {
          rank_load[placement.topology().rank_of_slot(slot)] +=
              experts[e] / static_cast<double>(slots[e].size());
        }
      }
    }
    sum_max += *std::max_element(rank_load.begin(), rank_load.end());
  }
  return sum_all == 0 ? 1 : sum_max * placement.topology().num_ranks() / sum_all;
}

TEST_P(EveryPolicy, ReportsSayWhatThePlacementIs) {
  const std::unique_ptr<Policy> policy = Make();
  for (int seed = 0; seed < Scaled(kNumSeeds); ++seed) {
    const Instance instance = RandomInstance(seed);
    SCOPED_TRACE(instance.text);
    PolicyState state;
    const Plan plan = policy->MakePlan(instance.Input(), state, {}).value();
    ASSERT_EQ(static_cast<int>(plan.layers.size()), instance.current.num_layers());
    int64_t num_moves = 0;
    for (int layer_idx = 0; layer_idx < instance.current.num_layers(); ++layer_idx) {
      const LayerReport& report = plan.layers[layer_idx];
      const LoadWindow& last = instance.history.back();
      ASSERT_EQ(report.moves, MovesByLooking(instance.current, plan.placement, layer_idx));
      ASSERT_NEAR(report.imbalance_before, ImbalanceByLooking(last, instance.current, layer_idx),
                  1e-9);
      ASSERT_NEAR(report.imbalance_after, ImbalanceByLooking(last, plan.placement, layer_idx),
                  1e-9);
      ASSERT_GE(report.imbalance_after, report.lower_bound * (1 - 1e-12));
      ASSERT_GE(report.lower_bound, 1.0);
      if (report.verdict != LayerVerdict::kChanged) {
        ASSERT_EQ(report.moves, 0) << report.Reason();
      }
      num_moves += report.moves;
    }
    ASSERT_EQ(plan.moves, num_moves);
  }
}

/// Three workers that take layers from the last to the first, as no thread pool is likely to.
class BackwardExecutor : public Executor {
 public:
  int num_workers() const override { return 3; }
  void Run(int num_tasks, const std::function<void(int, int)>& body) override {
    for (int task_idx = num_tasks - 1; task_idx >= 0; --task_idx) {
      body(task_idx, task_idx % num_workers());
    }
  }
};

TEST_P(EveryPolicy, RepeatsAndThreadsGiveTheSameBits) {
  BackwardExecutor backward;
  const std::unique_ptr<Policy> reused = Make();
  const std::unique_ptr<Executor> two = Executor::Threads(2);
  const std::unique_ptr<Executor> eight = Executor::Threads(8);
  for (int seed = 0; seed < Scaled(100); ++seed) {
    const Instance instance = RandomInstance(seed);
    SCOPED_TRACE(instance.text);
    PolicyState state;
    const Plan plan = Make()->MakePlan(instance.Input(), state, {}).value();
    for (Executor* executor :
         {&Executor::Inline(), two.get(), eight.get(), static_cast<Executor*>(&backward)}) {
      SCOPED_TRACE("workers " + std::to_string(executor->num_workers()));
      PolicyState other_state;
      const Plan other =
          reused->MakePlan(instance.Input(), other_state, {.executor = executor}).value();
      ASSERT_EQ(other.placement, plan.placement);
      ASSERT_EQ(other_state.values, state.values);
      ASSERT_EQ(other.digest, plan.digest);
      for (size_t layer_idx = 0; layer_idx < plan.layers.size(); ++layer_idx) {
        ASSERT_EQ(other.layers[layer_idx].imbalance_after, plan.layers[layer_idx].imbalance_after);
        ASSERT_EQ(other.layers[layer_idx].verdict, plan.layers[layer_idx].verdict);
        ASSERT_EQ(other.layers[layer_idx].wanted, plan.layers[layer_idx].wanted);
      }
    }
  }
}

TEST_P(EveryPolicy, SuccessivePlansWithStateRepeatToo) {
  for (int seed = 0; seed < Scaled(50); ++seed) {
    const Instance instance = RandomInstance(seed);
    SCOPED_TRACE(instance.text);
    std::vector<uint64_t> digests[2];
    for (std::vector<uint64_t>& run : digests) {
      const std::unique_ptr<Policy> policy = Make();
      PolicyState state;
      Placement current = instance.current;
      for (size_t t = 0; t < instance.history.size(); ++t) {
        PlanInput input = instance.Input();
        input.current = &current;
        input.history = input.history.first(t + 1);
        const Plan plan = policy->MakePlan(input, state, {}).value();
        run.push_back(plan.digest);
        current = plan.placement;
      }
    }
    ASSERT_EQ(digests[0], digests[1]);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, EveryPolicy, testing::ValuesIn(PolicyNames()),
                         [](const auto& test) { return std::string(test.param); });

TEST(StaticPolicy, WeightedSharesAreFittedAnewToWhatIsHeld) {
  // Experts 0 1 | 2 0. Nine tenths of expert 0 on rank 0 leave it 14 of 20 tokens in each bin;
  // even, both ranks have 10.
  const Placement current =
      Placement::Create(Topology::Create(2, 2).value(), 3, {0, 1, 2, 0}, DuplicateRule::kRefuse,
                        std::vector<double>{0.9, 1.0, 1.0, 0.1})
          .value();
  const LoadWindow window = LoadWindow::Create({2, 1, 1, 3}, {10, 5, 5, 10, 5, 5}).value();
  PolicyState state;
  const Plan plan = MakePolicy("static")
                        .value()
                        ->MakePlan({.current = &current,
                                    .history = {&window, 1},
                                    .options = {.split = SplitRule::kWeighted}},
                                   state, {})
                        .value();
  EXPECT_EQ(plan.moves, 0);
  EXPECT_EQ(plan.imbalance_before(), 14.0 / 10.0);
  EXPECT_EQ(plan.imbalance_after(), 1.0);
}

}  // namespace
}  // namespace steelyard
