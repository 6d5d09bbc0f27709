// How the time of a plan grows with layers, experts and ranks.
//
// A line plans every size of its axis in turn, so that whatever else runs disturbs all alike, and
// fits time = c x size^exponent to the medians (least squares of the logarithms). `off` is the
// largest factor between a median and the fit: near 1 where the growth is a power of the size.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "plan_cases.h"
#include "plan_timing.h"

namespace steelyard {
namespace {

struct Axis {
  const char* name;
  std::vector<int> sizes;
  PlanShape (*shape_of)(int size);
};

struct PowerLaw {
  double exponent = 0.0;
  double off = 1.0;  // largest factor between a value and the fit
};

PowerLaw Fit(const std::vector<int>& sizes, const std::vector<double>& seconds) {
  const auto count = static_cast<double>(sizes.size());
  double mean_x = 0.0;
  double mean_y = 0.0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    mean_x += std::log(sizes[i]) / count;
    mean_y += std::log(seconds[i]) / count;
  }
  double xx = 0.0;
  double xy = 0.0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double x = std::log(sizes[i]) - mean_x;
    xx += x * x;
    xy += x * (std::log(seconds[i]) - mean_y);
  }
  PowerLaw law = {.exponent = xy / xx};
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double fitted = mean_y + law.exponent * (std::log(sizes[i]) - mean_x);
    law.off = std::max(law.off, std::exp(std::fabs(std::log(seconds[i]) - fitted)));
  }
  return law;
}

void BM_Scaling(benchmark::State& state, const Axis& axis, const PlanUse& use, Start start) {
  TimedExecutor executor(1);
  std::vector<PlanCase> cases;
  for (const int size : axis.sizes) {
    cases.emplace_back(axis.shape_of(size), use, start, executor);
    cases.back().Make();
  }
  std::vector<std::vector<double>> seconds(cases.size());  // [sizes][iterations]
  for (auto _ : state) {
    double sum = 0.0;
    for (size_t i = 0; i < cases.size(); ++i) {
      cases[i].ResetState();
      seconds[i].push_back(executor.Seconds([&] { benchmark::DoNotOptimize(cases[i].Make()); }));
      sum += seconds[i].back();
    }
    state.SetIterationTime(sum);
  }
  std::vector<double> medians;
  for (const std::vector<double>& of_size : seconds) medians.push_back(Median(of_size));
  const PowerLaw law = Fit(axis.sizes, medians);
  state.counters["exponent"] = law.exponent;
  state.counters["off"] = law.off;
  state.counters["first_ms"] = 1e3 * medians.front();
  state.counters["last_ms"] = 1e3 * medians.back();
  state.SetLabel(fmt::format("~ {}^{:.2f} from {} to {}", axis.name, law.exponent,
                             axis.sizes.front(), axis.sizes.back()));
}

const Axis kAxes[] = {
    {"layers",
     {8, 16, 32, 64, 128},
     [](int layers) {
       return PlanShape{layers, 256, 32, 9};
     }},
    {"experts",
     {64, 128, 256, 512, 1024},
     [](int experts) {
       return PlanShape{16, experts, 32, experts / 32 + 1};
     }},
    {"ranks",
     {8, 16, 32, 64, 128},
     [](int ranks) {
       return PlanShape{16, 256, ranks, 256 / ranks + 1};
     }},
    // One expert a rank and as much redundancy, as on the largest machines.
    {"ranks_and_experts",
     {64, 128, 256, 512, 1024},
     [](int ranks) {
       return PlanShape{8, ranks, ranks, 2};
     }},
};

[[maybe_unused]] const bool kAdded = [] {
  constexpr int kIterations = 11;
  const auto add = [](const Axis& axis, const PlanUse& use, Start start) {
    const std::string name = fmt::format(
        "scaling/{}/{}/{}", axis.name, start == Start::kScratch ? "scratch" : "replan", use.policy);
    benchmark::RegisterBenchmark(name.c_str(), BM_Scaling, axis, use, start)
        ->Unit(benchmark::kMillisecond)
        ->UseManualTime()
        ->Iterations(kIterations);
  };
  for (const Axis& axis : kAxes) {
    add(axis, {.policy = "steelyard"}, Start::kScratch);
    add(axis, {.policy = "steelyard"}, Start::kReplan);
    add(axis, {.policy = "deepseek"}, Start::kReplan);
  }
  return true;
}();

}  // namespace
}  // namespace steelyard
