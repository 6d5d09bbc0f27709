#include "trace/edit_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::ElementsAre;

// 3 bins x 1 phase x 2 layers x 2 experts, counts 0, 1, 2, ..
LoadTrace Example() {
  std::vector<double> counts(12);
  std::iota(counts.begin(), counts.end(), 0.0);
  LoadTrace trace{LoadWindow::Create({3, 1, 2, 2}, counts).value(), {4, 5, 6}, {}};
  trace.origin.model = "a model";
  return trace;
}

TEST(EditTrace, CutsBinsAndLayers) {
  const LoadTrace cut =
      EditTrace(Example(), {.first_bin = 1, .end_bin = 3, .first_layer = 1}).value();
  EXPECT_EQ(cut.loads.shape(), (LoadShape{2, 1, 1, 2}));
  EXPECT_THAT(cut.loads.counts(), ElementsAre(6, 7, 10, 11));
  EXPECT_THAT(cut.steps, ElementsAre(5, 6));
  EXPECT_EQ(cut.origin.model, "a model");
}

TEST(EditTrace, MergesBinsAndDropsThoseThatFillNone) {
  const LoadTrace merged = EditTrace(Example(), {.merge_bins = 2}).value();
  EXPECT_EQ(merged.loads.shape(), (LoadShape{1, 1, 2, 2}));
  EXPECT_THAT(merged.loads.counts(), ElementsAre(4, 6, 8, 10));
  EXPECT_THAT(merged.steps, ElementsAre(9));
}

TEST(EditTrace, RefusesWhatLeavesNothingOrLiesOutside) {
  const auto refusal = [](const TraceEdit& edit) {
    return EditTrace(Example(), edit).status().message();
  };
  EXPECT_EQ(refusal({.first_bin = 2, .end_bin = 2}),
            "bins 2:2 are not some of the 3 that are there");
  EXPECT_EQ(refusal({.end_bin = 4}), "bins 0:4 are not some of the 3 that are there");
  EXPECT_EQ(refusal({.first_layer = -1}), "layers -1:2 are not some of the 2 that are there");
  EXPECT_EQ(refusal({.first_layer = 5}), "layers 5:2 are not some of the 2 that are there");
  EXPECT_EQ(refusal({.merge_bins = 4}), "3 bins do not fill one merged of 4");
}

TEST(EditTrace, KeepsEveryTokenOfMergedBins) {
  for (int seed = 0; seed < Scaled(50); ++seed) {
    std::mt19937 random(seed);
    const int merge = static_cast<int>(1 + random() % 3);
    const LoadShape shape{merge * static_cast<int>(1 + random() % 3), 2,
                          static_cast<int>(1 + random() % 3), static_cast<int>(1 + random() % 5)};
    std::vector<double> counts(shape.num_counts());
    for (double& count : counts) {
      count = random() % 1000;
    }
    const LoadTrace trace{LoadWindow::Create(shape, counts).value(), {}, {}};
    const LoadTrace merged = EditTrace(trace, {.merge_bins = merge}).value();
    EXPECT_EQ(merged.loads.shape().num_bins, shape.num_bins / merge) << "seed " << seed;
    for (int layer = 0; layer < shape.num_layers; ++layer) {
      std::vector<double> before(shape.num_experts, 0.0);
      std::vector<double> after(shape.num_experts, 0.0);
      trace.loads.AddLayerTo(layer, before);
      merged.loads.AddLayerTo(layer, after);
      EXPECT_EQ(after, before) << "seed " << seed << ", layer " << layer;
    }
    EXPECT_TRUE(merged.steps.empty());
  }
}

}  // namespace
}  // namespace steelyard
