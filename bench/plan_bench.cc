// What planning costs, and what it buys: each figure stands beside its budget, where there is one.
//
// Times are CPU time, of one thread or shared out evenly among several, after the policy has taken
// its memory. A line shows mean (Time) and median, the imbalance before and after beside its lower
// bound, moves, and the allocations of one plan. `MISSED` marks a budget that is not met.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "base/count_allocations.h"
#include "plan_cases.h"
#include "plan_timing.h"

namespace steelyard {
namespace {

struct Budget {
  double ms = 0.0;
  double after = 0.0;  // imbalance; 0: none
  int moves = 0;       // 0: none
};

struct Planning {
  PlanShape shape;
  PlanUse use;
  Start start = Start::kReplan;
  int num_threads = 1;
  std::optional<Budget> budget = {};
};

/// For example "budget 3 ms: 0.64 of it" or "budget 3 ms: MISSED, 1.20 of it".
std::string VerdictOf(const Budget& budget, double ms, const Plan& plan) {
  const auto line = [](std::string_view name, double value, double limit) {
    return fmt::format("{}: {}{:.2f} of it", name, value > limit ? "MISSED, " : "", value / limit);
  };
  std::string text = line(fmt::format("budget {:g} ms", budget.ms), ms, budget.ms);
  if (budget.after > 0.0) {
    text += "; " + line(fmt::format("excess {:g}", budget.after - 1.0),
                        plan.imbalance_after() - 1.0, budget.after - 1.0);
  }
  if (budget.moves > 0) {
    text += "; " + line(fmt::format("{} moves", budget.moves), static_cast<double>(plan.moves),
                        budget.moves);
  }
  return text;
}

void BM_Plan(benchmark::State& state, const Planning& planning) {
  TimedExecutor executor(planning.num_threads);
  PlanCase plan_case(planning.shape, planning.use, planning.start, executor);
  const Plan plan = plan_case.Make();
  plan_case.ResetState();
  const int64_t before = NumAllocations();
  plan_case.Make();
  const int64_t num_allocations = NumAllocations() - before;
  std::vector<double> seconds;
  for (auto _ : state) {
    plan_case.ResetState();
    seconds.push_back(executor.Seconds([&] { benchmark::DoNotOptimize(plan_case.Make()); }));
    state.SetIterationTime(seconds.back());
  }
  const double median_ms = 1e3 * Median(seconds);
  state.counters["median_ms"] = median_ms;
  state.counters["before"] = plan.imbalance_before();
  state.counters["after"] = plan.imbalance_after();
  state.counters["bound"] = plan.lower_bound();
  state.counters["moves"] = static_cast<double>(plan.moves);
  state.counters["allocations"] = static_cast<double>(num_allocations);
  if (planning.budget) state.SetLabel(VerdictOf(*planning.budget, median_ms, plan));
}

std::string NameOf(const Planning& planning) {
  const PlanShape& shape = planning.shape;
  const PlanUse& use = planning.use;
  std::string name = fmt::format(
      "plan/{}x{}_on_{}x{}/{}/{}", shape.num_layers, shape.num_experts, shape.num_ranks,
      shape.slots_per_rank, planning.start == Start::kScratch ? "scratch" : "replan", use.policy);
  if (use.split == SplitRule::kWeighted) name += "_weighted";
  if (use.num_windows > 1) name += fmt::format("/windows:{}", use.num_windows);
  if (use.num_bins > 1) name += fmt::format("/bins:{}", use.num_bins);
  if (use.num_phases > 1) name += fmt::format("/phases:{}", use.num_phases);
  if (planning.num_threads > 1) name += fmt::format("/threads:{}", planning.num_threads);
  return name;
}

void Add(const Planning& planning, int num_iterations) {
  benchmark::RegisterBenchmark(NameOf(planning).c_str(), BM_Plan, planning)
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime()
      ->Iterations(num_iterations);
}

constexpr PlanUse kSteelyard = {};
constexpr PlanUse kWeighted = {.split = SplitRule::kWeighted};
// All that `auto` chooses from is planned on, for every layer.
constexpr PlanUse kWithHistory = {.num_windows = 4, .num_bins = 4, .num_phases = 2};

constexpr PlanUse kOthers[] = {{.policy = "static"},   {.policy = "random"},
                               {.policy = "deepseek"}, {.policy = "vllm"},
                               {.policy = "swift"},    {.policy = "flashlb", .num_bins = 4}};

void AddShape(const PlanShape& shape, std::optional<Budget> scratch, std::optional<Budget> replan) {
  constexpr int kIterations = 21;
  constexpr int kIterationsOfSlow = 5;
  for (const PlanUse& use : kOthers) {
    Add({.shape = shape, .use = use}, kIterationsOfSlow);
  }
  Add({shape, kSteelyard, Start::kScratch, 1, scratch}, kIterations);
  Add({shape, kSteelyard, Start::kReplan, 1, replan}, kIterations);
  for (const Start start : {Start::kScratch, Start::kReplan}) {
    Add({.shape = shape, .use = kWeighted, .start = start}, kIterationsOfSlow);
  }
  Add({.shape = shape, .use = kWithHistory}, kIterationsOfSlow);
}

/// Too large for those policies whose work grows with the square of the ranks.
void AddHuge(const PlanShape& shape, const Budget& budget) {
  constexpr int kIterations = 5;
  for (const PlanUse& use : kOthers) {
    if (std::string_view(use.policy) == "flashlb" || std::string_view(use.policy) == "swift") {
      continue;
    }
    Add({.shape = shape, .use = use}, kIterations);
  }
  for (const Start start : {Start::kScratch, Start::kReplan}) {
    Add({.shape = shape, .use = kSteelyard, .start = start}, kIterations);
    Add({shape, kSteelyard, start, 2, budget}, kIterations);
  }
}

[[maybe_unused]] const bool kAdded = [] {
  AddShape({58, 256, 32, 9}, Budget{.ms = 12.0}, Budget{3.0, 1.012, 3200});
  AddShape({58, 256, 64, 5}, {}, {});
  AddShape({58, 256, 16, 17}, {}, {});
  AddShape({94, 128, 16, 9}, {}, {});
  AddHuge({64, 1024, 1024, 2}, {.ms = 500.0});
  return true;
}();

}  // namespace
}  // namespace steelyard
