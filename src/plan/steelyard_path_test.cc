#include "plan/steelyard_path.h"

#include <gtest/gtest.h>

#include <vector>

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

}  // namespace
}  // namespace steelyard
