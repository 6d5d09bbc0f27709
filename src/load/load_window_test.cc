#include "steelyard/load/load_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::Each;
using testing::ElementsAre;

// 2 bins x 2 phases x 2 layers x 3 experts; the count at (b, p, l, e) is 1000b + 100p + 10l + e.
LoadWindow Example() {
  std::vector<double> counts;
  for (int row = 0; row < 8; ++row) {
    for (int e = 0; e < 3; ++e) {
      const int count = 1000 * (row / 4) + 100 * (row / 2 % 2) + 10 * (row % 2) + e;
      counts.push_back(count);
    }
  }
  return LoadWindow::Create({2, 2, 2, 3}, counts).value();
}

TEST(LoadWindow, FindsTheExpertsOfABinPhaseAndLayer) {
  LoadWindow window = Example();
  EXPECT_THAT(window.experts(0, 0, 0), ElementsAre(0, 1, 2));
  EXPECT_THAT(std::as_const(window).experts(1, 0, 1), ElementsAre(1010, 1011, 1012));
  window.experts(1, 1, 0)[2] += 5;
  EXPECT_EQ(window.counts()[(((1 * 2 + 1) * 2) + 0) * 3 + 2], 1107);
}

TEST(LoadWindow, AddsALayerOverBinsAndPhases) {
  std::vector<double> sum = {1, 1, 1};
  Example().AddLayerTo(1, sum);
  EXPECT_THAT(sum, ElementsAre(1 + 2240, 1 + 2244, 1 + 2248));
}

TEST(LoadWindow, StartsWithNoTokens) {
  const LoadWindow window(LoadShape{2, 1, 3, 4});
  EXPECT_EQ(window.counts().size(), 24u);
  EXPECT_THAT(window.counts(), Each(0.0));
}

TEST(LoadWindow, PrintsShapeAndTokens) {
  EXPECT_EQ(LoadWindow(LoadShape{1, 1, 2, 3}).ToString(),
            "1 bin x 1 phase x 2 layers x 3 experts, 0 tokens");
  EXPECT_EQ(Example().ToString(), "2 bins x 2 phases x 2 layers x 3 experts, 13344 tokens");
}

TEST(LoadWindow, PhasesHaveNames) {
  EXPECT_EQ(PhaseName(Phase::kPrefill), "prefill");
  EXPECT_EQ(PhaseName(Phase::kDecode), "decode");
}

TEST(LoadWindow, RefusesWhatIsNoLoadAndSaysWhere) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr int kMax = std::numeric_limits<int>::max();
  struct Row {
    LoadShape shape;
    std::vector<double> counts;
    std::string message;
  };
  const std::vector<Row> rows = {
      {{0, 1, 1, 1}, {}, "num_bins is 0, but at least 1 is needed"},
      {{1, -1, 1, 1}, {}, "num_phases is -1, but at least 1 is needed"},
      {{1, 1, 0, 1}, {}, "num_layers is 0, but at least 1 is needed"},
      {{1, 1, 1, 0}, {}, "num_experts is 0, but at least 1 is needed"},
      {{1, 1, 1, 2}, {1}, "1 counts do not fill 1 bin x 1 phase x 1 layer x 2 experts"},
      {{2, 1, 1, 2}, {1, 2, 3}, "3 counts do not fill 2 bins x 1 phase x 1 layer x 2 experts"},
      {{kMax, kMax, kMax, kMax},
       {},
       "0 counts do not fill 2147483647 bins x 2147483647 phases x 2147483647 layers x 2147483647 "
       "experts"},
      {{1, 1, 1, 3}, {1, -2, 3}, "bin 0, phase 0, layer 0, expert 1: count -2 is negative"},
      {{2, 2, 1, 1}, {1, 2, 3, kInf}, "bin 1, phase 1, layer 0, expert 0: count inf is not finite"},
      {{1, 1, 1, 2}, {1, 2e18}, "bin 0, phase 0, layer 0, expert 1: count 2e+18 is above 1e18"},
      {{1, 2, 2, 1}, {1, 2, 3, kNan}, "bin 0, phase 1, layer 1, expert 0: count nan is not finite"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(LoadWindow::Create(row.shape, row.counts).status(), InvalidArgument(row.message));
  }
}

TEST(LoadWindow, SummingLosesNoToken) {
  for (int seed = 0; seed < Scaled(100); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](int n) { return static_cast<int>(random() % n); };
    const LoadShape shape{1 + below(4), 1 + below(2), 1 + below(4), 1 + below(8)};
    std::vector<double> counts(shape.num_counts());
    double num_tokens = 0;
    for (double& count : counts) {
      num_tokens += count = below(1000);
    }
    const LoadWindow window = LoadWindow::Create(shape, counts).value();
    std::vector<double> sum(shape.num_experts, 0.0);
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      window.AddLayerTo(layer, sum);
    }
    double num_summed = 0;
    for (const double count : sum) {
      num_summed += count;
    }
    EXPECT_EQ(num_summed, num_tokens);
  }
}

}  // namespace
}  // namespace steelyard
