// What the balancer's hooks cost a step in which no cycle is in flight. The budget is 0.1 % of the
// step: 1 us of one that takes 1 ms.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "migrate/test_store.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/comm/inproc.h"

namespace steelyard {
namespace {

// One rank with its slots in so many layers; windows never end.
void BM_HooksOfAStep(benchmark::State& state) {
  const auto num_layers = static_cast<int>(state.range(0));
  const auto num_slots = static_cast<int>(state.range(1));
  const Placement initial =
      Placement::Contiguous(Topology::Create(1, num_slots).value(), num_layers, num_slots).value();
  const auto ends = MakeInprocGroup(1);
  BalancerOptions options;
  options.window_steps = 1 << 30;
  options.bins_per_window = 4;
  TestStore store(initial, 0, 192, options.staging_buffers);
  BalancerHost host;
  host.comm = ends[0].get();
  host.store = &store;
  host.make_policy = [] { return MakePolicy("steelyard"); };
  const std::unique_ptr<Balancer> balancer = Balancer::Create(options, host, initial).value();
  const std::vector<uint32_t> counts(num_slots, 5);
  for (auto _ : state) {
    balancer->BeginStep();
    for (int layer = 0; layer < num_layers; ++layer) {
      benchmark::DoNotOptimize(balancer->tables(layer));
      balancer->Record(layer, Phase::kPrefill, counts);
      balancer->Record(layer, Phase::kDecode, counts);
      balancer->Pump();
    }
    benchmark::DoNotOptimize(balancer->EndStep());
  }
}
BENCHMARK(BM_HooksOfAStep)
    ->ArgNames({"layers", "slots"})
    ->Args({4, 9})
    ->Args({24, 9})
    ->Args({58, 9})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace steelyard
