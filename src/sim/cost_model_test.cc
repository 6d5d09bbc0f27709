#include "sim/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/test_traces.h"

namespace steelyard {
namespace {

// Two windows are scored, of 40 (token, expert) pairs each; contiguous imbalance 2 and 1.
struct Case {
  std::vector<LoadWindow> windows =
      CutWindows(OneLayerTrace({{1, 1, 1, 1}, {40, 0, 0, 0}, {20, 0, 0, 20}}), 1).value();
  Placement start = ContiguousOn(2, 2, windows[0].shape());
  ReplayInput input{windows, &start};
  CostModel model{.expert_bytes = 1'000'000,
                  .link_gbps = 8.0,  // 1 ms for an expert
                  .step_ms = 3.0,    // level: 2 ms
                  .tokens_per_step = 5.0,
                  .top_k = 2.0};  // 4 steps in a window
  PolicyReplay replay;

  Case() {
    replay.policy = "any";
    replay.cycles = {{.imbalance_next = 1.25, .moves = 4, .busiest_rank_moves = 3},
                     {.imbalance_next = 1.125, .moves = 2, .busiest_rank_moves = 1}};
  }
  PolicyCost Cost() const { return CostsOf({&replay, 1}, input, model).value()[0]; }
};

TEST(CostModel, SavesTheTimeOfTheHottestRankAndSpendsThatOfItsLink) {
  const Case c;
  const PolicyCost cost = c.Cost();
  EXPECT_DOUBLE_EQ(cost.steps_per_window, 4.0);
  // 4 steps x 2 ms x (2 - 1.25), and 4 x 2 x (1 - 1.125).
  EXPECT_DOUBLE_EQ(cost.saved_ms_per_window, (6.0 - 1.0) / 2);
  EXPECT_DOUBLE_EQ(cost.first_spent_ms, 3.0);
  EXPECT_DOUBLE_EQ(cost.spent_ms_per_window, 1.0);
  EXPECT_DOUBLE_EQ(cost.net_ms, 5.0 - 4.0);
  EXPECT_DOUBLE_EQ(cost.net_percent, 1.0 / 24.0 * 100);  // 8 steps of 3 ms
  EXPECT_DOUBLE_EQ(cost.break_even_steps, 1.0 / (5.0 / 8));
  EXPECT_TRUE(cost.pays);
}

TEST(CostModel, ASlowLinkMakesItNotPay) {
  Case c;
  c.model.link_gbps = 4.0;
  EXPECT_DOUBLE_EQ(c.Cost().net_ms, 5.0 - 8.0);
  EXPECT_FALSE(c.Cost().pays);
}

TEST(CostModel, NothingSavedNeverBreaksEven) {
  Case c;
  c.replay.cycles[0].imbalance_next = 2.0;
  c.replay.cycles[1].imbalance_next = 1.0;
  EXPECT_EQ(c.Cost().saved_ms_per_window, 0.0);
  EXPECT_TRUE(std::isinf(c.Cost().break_even_steps));
  EXPECT_FALSE(c.Cost().pays);
}

TEST(CostModel, NamesTheFieldThatIsOutOfRange) {
  struct Row {
    CostModel model;
    std::string message;
  };
  for (const Row& row : {
           Row{{0, 1, 1, 1, 1}, "expert_bytes is 0, but must be finite and above 0"},
           Row{{1, 0, 1, 1, 1}, "link_gbps is 0, but must be finite and above 0"},
           Row{{1, 1, -1, 1, 1}, "step_ms is -1, but must be finite and above 0"},
           Row{{1, 1, 1, INFINITY, 1}, "tokens_per_step is inf, but must be finite and above 0"},
           Row{{1, 1, 1, 1, 0}, "top_k is 0, but must be finite and above 0"},
       }) {
    const Case c;
    EXPECT_EQ(CostsOf({&c.replay, 1}, c.input, row.model).status().message(), row.message);
  }
}

}  // namespace
}  // namespace steelyard
