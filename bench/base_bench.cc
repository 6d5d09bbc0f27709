// What the first layer costs those that use it in a hot place.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>

#include "base/json.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/executor.h"

namespace steelyard {
namespace {

// A job whose tasks do nothing: the price of asking for parallelism at all.
void BM_ExecutorRun(benchmark::State& state) {
  const auto num_threads = static_cast<int>(state.range(0));
  const auto num_tasks = static_cast<int>(state.range(1));
  const auto executor = Executor::Threads(num_threads);
  for (auto _ : state) {
    executor->Run(num_tasks, [](int task_idx, int) { benchmark::DoNotOptimize(task_idx); });
  }
}
BENCHMARK(BM_ExecutorRun)
    ->ArgNames({"threads", "tasks"})
    ->Args({1, 64})
    ->Args({2, 1})
    ->Args({2, 64})
    ->UseRealTime();

void BM_SystemClockNow(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(Clock::System().Now());
  }
}
BENCHMARK(BM_SystemClockNow);

// An array of small numbers, as slots and shares of a placement file are.
void BM_ParseJsonNumbers(benchmark::State& state) {
  std::string text = "[0";
  for (int i = 1; i < 100000; ++i) {
    text += fmt::format(",{}", i % 256);
  }
  text += "]";
  for (auto _ : state) {
    benchmark::DoNotOptimize(ParseJson(text, "numbers"));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(BM_ParseJsonNumbers)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace steelyard
