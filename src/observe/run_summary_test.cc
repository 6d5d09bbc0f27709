#include "observe/run_summary.h"

#include <gtest/gtest.h>

#include "observe/progress.h"

namespace steelyard {
namespace {

BalancerMetrics ThreeWindows() {
  BalancerMetrics metrics;
  metrics.windows.resize(3);
  const double tokens[] = {100, 300, 100};
  const double imbalances[] = {1.5, 1.3, 1.1};
  for (int i = 0; i < 3; ++i) {
    metrics.windows[i].tokens = tokens[i];
    metrics.windows[i].imbalance = imbalances[i];
  }
  metrics.first_window_after_commit = 1;
  return metrics;
}

TEST(ImbalanceSummary, MeansAreWeightedByTokens) {
  const ImbalanceSummary summary = SummariseImbalance(ThreeWindows());
  EXPECT_EQ(summary.first, 1.5);
  EXPECT_EQ(summary.last, 1.1);
  EXPECT_NEAR(summary.mean, (1.5 * 100 + 1.3 * 300 + 1.1 * 100) / 500, 1e-12);
  EXPECT_NEAR(summary.mean_after_commit.value(), (1.3 * 300 + 1.1 * 100) / 400, 1e-12);
  EXPECT_EQ(summary.first_window_after_commit, 1);
  EXPECT_EQ(summary.windows, (std::vector<double>{1.5, 1.3, 1.1}));
}

TEST(ImbalanceSummary, NoWindowAfterACommitIsNoMeanAfterIt) {
  for (const int64_t first : {-1, 3}) {
    BalancerMetrics metrics = ThreeWindows();
    metrics.first_window_after_commit = first;
    const ImbalanceSummary summary = SummariseImbalance(metrics);
    EXPECT_FALSE(summary.mean_after_commit.has_value()) << first;
    EXPECT_FALSE(summary.first_window_after_commit.has_value()) << first;
  }
}

TEST(ImbalanceSummary, NoWindowsAreLevel) {
  const ImbalanceSummary summary = SummariseImbalance({});
  EXPECT_EQ(summary.mean, 1.0);
  EXPECT_TRUE(summary.windows.empty());
}

TEST(RunSummary, KeysStandInTheDocumentedOrder) {
  RunSummary summary{"m", 2, "async", 1, {}};
  summary.report.balance = ThreeWindows();
  summary.report.balance.stall_total = std::chrono::milliseconds(3);
  const OrderedJson json = summary.ToJson();
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_EQ(keys,
            (std::vector<std::string>{
                "model", "ranks", "slots", "balance", "requests", "prompt_tokens", "new_tokens",
                "seconds", "tokens_per_second", "steps", "step_ms", "imbalance", "windows",
                "first_window_after_commit", "cycles", "moves", "bytes_moved", "stall_ms"}));
  EXPECT_EQ(json["stall_ms"]["total"], 3.0);
  EXPECT_EQ(json["first_window_after_commit"], 1);
}

TEST(ResultLine, HasFiveKeysInOrder) {
  RequestResult result;
  result.id = "r\"1";
  result.input_ids = {1, 2};
  result.new_tokens = {3};
  result.text = "hé";
  result.finish_reason = FinishReason::kStop;
  EXPECT_EQ(ResultLine(result),
            "{\"id\":\"r\\\"1\",\"input_ids\":[1,2],\"new_tokens\":[3],\"text\":\"hé\","
            "\"finish_reason\":\"stop\"}\n");
}

TEST(ProgressBar, LineSaysHowFarAndHowFast) {
  EXPECT_EQ(ProgressBar::Line("off", {50, 100, 7, 1.25}, 2.0),
            "off      [###############...............]  50 %  step 7  imbalance 1.25  25 tokens/s");
  EXPECT_NE(ProgressBar::Line("off", {0, 0, 0, 1.0}, 0.0).find("100 %"), std::string::npos);
}

}  // namespace
}  // namespace steelyard
