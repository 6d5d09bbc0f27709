// The hooks of a step allocate nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "balance/test_host.h"
#include "balance/test_policies.h"
#include "base/count_allocations.h"
#include "steelyard/comm/inproc.h"

namespace steelyard {
namespace {

// Allocations in steps in which no window ends and none comes in, of windows of 8.
int64_t AllocationsOfQuietSteps(Balancer& balancer, int64_t first_step, int64_t end_step) {
  const std::vector<uint32_t> counts(2, 3);
  int64_t num_quiet = 0;
  while (balancer.step() < end_step) {
    const bool quiet =
        balancer.step() >= first_step && balancer.step() % 8 >= 2 && balancer.step() % 8 < 7;
    const int64_t before = NumAllocationsOfThread();
    balancer.BeginStep();
    balancer.Record(0, Phase::kDecode, counts);
    EXPECT_NE(balancer.tables(0).routing, nullptr);
    balancer.Pump();
    EXPECT_EQ(balancer.EndStep().ToString(), "OK");
    if (quiet) num_quiet += NumAllocationsOfThread() - before;
  }
  return num_quiet;
}

// A plan that hangs keeps its cycle in flight: a vote in every step.
TEST(Balancer, HooksAllocateNothingWithOrWithoutACycleInFlight) {
  const Placement initial = Placement::Contiguous(Topology::Create(1, 2).value(), 1, 2).value();
  for (const BalanceMode mode : {BalanceMode::kOff, BalanceMode::kAsync}) {
    const auto gate = std::make_shared<HangingGate>();
    const auto ends = MakeInprocGroup(1);
    TestStore store(initial, 0, 192, 2);
    const ManualClock clock;
    BalancerHost host;
    host.comm = ends[0].get();
    host.store = &store;
    host.clock = &clock;
    host.make_policy = [gate]() -> Result<std::unique_ptr<Policy>> {
      return std::unique_ptr<Policy>(
          std::make_unique<ScriptedPolicy>([gate](int, Policy&, const PlanInput&, PolicyState&,
                                                  const PlanContext& context) -> Result<Plan> {
            gate->Hang(context.cancel);
            return Cancelled("told to stop");
          }));
    };
    const auto balancer = Balancer::Create(QuickOptions(mode), host, initial).value();
    EXPECT_EQ(AllocationsOfQuietSteps(*balancer, 16, 64), 0) << BalanceModeName(mode);
    EXPECT_EQ(balancer->metrics().cycles_started, mode == BalanceMode::kAsync ? 1 : 0);
    gate->OpenAndWait();
  }
  EXPECT_GT(NumAllocationsOfThread(), 0) << "allocations are not counted";
}

}  // namespace
}  // namespace steelyard
