#include "plan/steelyard_path.h"

#include <gtest/gtest.h>

#include <vector>

#include "plan/steelyard_ledger.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

// Two ranks that swap the same two experts for ever: no step is worth anything.
TEST(StepPath, EndsWhereStepsOfNoWorthGoRoundInCircles) {
  const LayerShape shape = {.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2};
  const std::vector<double> loads = {1, 1, 1, 1};
  LayerState state;
  state.Prepare(shape);
  state.SetLoads({loads.data(), 1, loads.size()});
  state.Assign(std::vector<int32_t>{0, 1, 2, 3});
  StepPath path;
  path.Prepare(100'000);
  int num_steps = 0;
  int32_t held = 0;
  path.Follow(
      0.0, 0.0, state, [] { return 1.0; },
      [&] {
        ++num_steps;
        const int32_t other = held == 0 ? 2 : 0;
        const Step step = {.rank_a = 0, .expert_a = held, .rank_b = 1, .expert_b = other};
        held = other;
        return step;
      });
  EXPECT_EQ(num_steps, 100'000 / 8 + 16);
  EXPECT_TRUE(state.Holds(0, 0));
  EXPECT_EQ(state.moves(), 0);
}

TEST(StepPath, ALimitThatWasInTheWayAtTheBestPointIsStillSaidAfterAPathBeyondIt) {
  const LayerShape shape = {.num_experts = 4, .num_ranks = 2, .slots_per_rank = 2};
  const std::vector<double> loads = {1, 1, 1, 1};
  const std::vector<int32_t> slots = {0, 1, 2, 3};
  const Topology topology = Topology::Create(2, 2).value();
  LayerState state;
  state.Prepare(shape);
  state.SetLoads({loads.data(), 1, loads.size()});
  state.Assign(slots);
  MoveLedger ledger;
  ledger.Prepare(shape, topology);
  ledger.Begin({.per_receiving_rank = 0}, RowOf(shape, slots));
  ledger.Assign(slots);
  state.Follow(&ledger);
  const Step swap = {.rank_a = 0, .expert_a = 0, .rank_b = 1, .expert_b = 2};
  StepPath path;
  path.Prepare(100);
  int num_asked = 0;
  path.Follow(
      0.0, 0.0, state, [] { return 1.0; },
      [&]() -> Step {
        if (++num_asked > 1) return {};
        EXPECT_FALSE(state.Allows(swap));
        return swap;
      });
  EXPECT_EQ(num_asked, 2);
  EXPECT_EQ(state.moves(), 0);
  EXPECT_EQ(state.blocked(), BindingLimit::kReceivingRank);
}

}  // namespace
}  // namespace steelyard
