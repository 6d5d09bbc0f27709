// What planning costs, and what it buys: each figure stands beside its budget, where there is one.
//
// A layer's loads are log-normal with sigma 1; a drifted load is 0.8 a + 0.2 b of two of them.
// `Scratch` plans from the contiguous placement; `Replan` plans the drifted load from the policy's
// own plan for the first. Memory is taken before, as the command does.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "steelyard/base/executor.h"
#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

struct Shape {
  int num_layers;
  int num_experts;
  int num_ranks;
  int slots_per_rank;
};

std::vector<double> LogNormal(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> loads(count);
  for (double& load : loads) load = 1000.0 * std::exp(normal(random));
  return loads;
}

struct Case {
  explicit Case(const Shape& shape)
      : contiguous(
            Placement::Contiguous(Topology::Create(shape.num_ranks, shape.slots_per_rank).value(),
                                  shape.num_layers, shape.num_experts)
                .value()) {
    const LoadShape loads = {.num_bins = 1,
                             .num_phases = 1,
                             .num_layers = shape.num_layers,
                             .num_experts = shape.num_experts};
    std::vector<double> a = LogNormal(loads.num_counts(), 1);
    const std::vector<double> b = LogNormal(loads.num_counts(), 2);
    first = LoadWindow::Create(loads, a).value();
    for (size_t i = 0; i < a.size(); ++i) a[i] = 0.8 * a[i] + 0.2 * b[i];
    drifted = LoadWindow::Create(loads, std::move(a)).value();
  }

  Placement contiguous;
  LoadWindow first;
  LoadWindow drifted;
};

Plan MakePlan(Policy& policy, const Placement& current, const LoadWindow& window,
              Executor& executor) {
  PolicyState state;
  return policy
      .MakePlan({.current = &current, .history = {&window, 1}, .options = {}}, state,
                {.executor = &executor})
      .value();
}

enum class Start { kScratch, kReplan };

void BM_Plan(benchmark::State& state, const char* policy_name, Start start, Shape shape,
             int num_threads, const char* budget) {
  const Case loads(shape);
  const std::unique_ptr<Executor> executor = Executor::Threads(num_threads);
  const std::unique_ptr<Policy> policy = MakePolicy(policy_name).value();
  if (!policy->Prepare(loads.contiguous, loads.first.shape(), 1, num_threads).ok()) {
    state.SkipWithError("the policy cannot be prepared for this shape");
    return;
  }
  const bool replan = start == Start::kReplan;
  const Placement current =
      replan ? MakePlan(*policy, loads.contiguous, loads.first, *executor).placement
             : loads.contiguous;
  const LoadWindow& window = replan ? loads.drifted : loads.first;
  for (auto _ : state) {
    benchmark::DoNotOptimize(MakePlan(*policy, current, window, *executor));
  }
  const Plan plan = MakePlan(*policy, current, window, *executor);
  state.counters["before"] = plan.imbalance_before();
  state.counters["after"] = plan.imbalance_after();
  state.counters["bound"] = plan.lower_bound();
  state.counters["moves"] = static_cast<double>(plan.moves);
  state.SetLabel(
      fmt::format("{} thread{}, budget {}", num_threads, num_threads == 1 ? "" : "s", budget));
}

constexpr Shape kV3 = {58, 256, 32, 9};
constexpr Shape kV3OnMany = {58, 256, 64, 5};
constexpr Shape kV3OnFew = {58, 256, 16, 17};
constexpr Shape kQwen = {94, 128, 16, 9};
constexpr Shape kHuge = {64, 1024, 1024, 2};
constexpr Shape kTiny = {6, 32, 4, 9};

#define STEELYARD_PLAN_BENCHMARK(policy, start, name, shape, threads, budget)                     \
  BENCHMARK_CAPTURE(BM_Plan, policy##_##start##_##name, #policy, Start::k##start, shape, threads, \
                    budget)                                                                       \
      ->Unit(benchmark::kMillisecond)                                                             \
      ->UseRealTime()

STEELYARD_PLAN_BENCHMARK(steelyard, Scratch, 58x256_on_32x9, kV3, 1, "12 ms");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 58x256_on_32x9, kV3, 1,
                         "3 ms, after 1.012, 3200 moves");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 58x256_on_64x5, kV3OnMany, 1, "none");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 58x256_on_16x17, kV3OnFew, 1, "none");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 94x128_on_16x9, kQwen, 1, "none");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 6x32_on_4x9, kTiny, 1, "none");
STEELYARD_PLAN_BENCHMARK(steelyard, Scratch, 64x1024_on_1024x2, kHuge, 2, "500 ms");
STEELYARD_PLAN_BENCHMARK(steelyard, Replan, 64x1024_on_1024x2, kHuge, 2, "500 ms");
STEELYARD_PLAN_BENCHMARK(deepseek, Replan, 58x256_on_32x9, kV3, 1, "none");

}  // namespace
}  // namespace steelyard
