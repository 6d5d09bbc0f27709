#include "engine/compute/ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/test_scale.h"
#include "engine/compute/ops_functions.h"
#include "engine/compute/panel_kernel.h"
#include "engine/compute/test_data.h"

namespace steelyard {
namespace {

// Every table of functions that this CPU can run.
std::vector<const OpsFunctions*> AllOpsFunctions() {
  std::vector<const OpsFunctions*> all = {&simd_portable::kOpsFunctions};
  if (&BestOpsFunctions() != all[0]) {
    all.push_back(&BestOpsFunctions());
  }
  return all;
}

TEST(RmsNorm, DividesByTheRootOfTheMeanSquare) {
  // Mean square of (1, 7) is 25.
  const std::vector<float> x{1, 7};
  const std::vector<float> weight{10, -1};
  std::vector<float> y(2);
  RmsNorm(x.data(), weight.data(), 1, 2, 0.0F, y.data());
  EXPECT_FLOAT_EQ(y[0], 2.0F);
  EXPECT_FLOAT_EQ(y[1], -1.4F);
}

TEST(RmsNorm, AgreesWithDoubleForEveryWidthAndWorksInPlace) {
  for (const OpsFunctions* ops : AllOpsFunctions()) {
    for (int width = 1; width <= 130; width += 3) {
      const int num_rows = 3;
      const auto x = RandomFloats(static_cast<size_t>(num_rows) * width, width, 3.0F);
      const auto weight = RandomFloats(width, width + 1);
      std::vector<float> y(x);
      ops->rms_norm(y.data(), weight.data(), num_rows, width, 1e-6F, y.data());
      for (int row = 0; row < num_rows; ++row) {
        const float* row_x = &x[static_cast<size_t>(row) * width];
        double squares = 0;
        for (int i = 0; i < width; ++i) squares += double{row_x[i]} * row_x[i];
        const double rms = std::sqrt(squares / width + 1e-6);
        for (int i = 0; i < width; ++i) {
          EXPECT_NEAR(y[static_cast<size_t>(row) * width + i], row_x[i] / rms * weight[i], 2e-6)
              << "width " << width;
        }
      }
    }
  }
}

TEST(Rope, TablesHoldAnglesOfFloat32) {
  constexpr int kPositions = 3000;
  constexpr int kHeadDim = 32;
  constexpr int kHalf = kHeadDim / 2;
  std::vector<float> cos_table(kPositions * kHalf);
  std::vector<float> sin_table(kPositions * kHalf);
  FillRopeTables(kPositions, kHeadDim, 1e6, cos_table.data(), sin_table.data());
  for (const int position : {0, 1, 17, 2999}) {
    for (int i = 0; i < kHalf; ++i) {
      const double angle = position * std::pow(1e6, -2.0 * i / kHeadDim);
      // A float32 angle near 3000 is off by up to 1.2e-4.
      EXPECT_NEAR(cos_table[position * kHalf + i], std::cos(angle), 1e-6 + angle * 1.2e-7);
      EXPECT_NEAR(sin_table[position * kHalf + i], std::sin(angle), 1e-6 + angle * 1.2e-7);
    }
  }
}

TEST(Rope, TurnsPairsThatLieHalfAHeadApart) {
  // Quarter turns: (x, y) becomes (-y, x); no turn for the second pair.
  std::vector<float> head{1, 2, 3, 4};
  const std::vector<float> cos_row{0, 1};
  const std::vector<float> sin_row{1, 0};
  ApplyRope(head.data(), 4, cos_row.data(), sin_row.data());
  EXPECT_THAT(head, testing::ElementsAre(-3, 2, 1, 4));
}

TEST(Silu, AgreesWithDoubleOverTheWholeRange) {
  for (const OpsFunctions* ops : AllOpsFunctions()) {
    for (int width = 1; width <= 40; ++width) {
      auto gate_up = RandomFloats(static_cast<size_t>(4) * width, width, 30.0F);
      std::vector<float> out(static_cast<size_t>(2) * width);
      ops->silu_and_multiply(gate_up.data(), 2, width, out.data());
      for (int row = 0; row < 2; ++row) {
        for (int i = 0; i < width; ++i) {
          const double gate = gate_up[static_cast<size_t>(row) * 2 * width + i];
          const double up = gate_up[static_cast<size_t>(row) * 2 * width + width + i];
          const double expected = gate / (1 + std::exp(-gate)) * up;
          EXPECT_NEAR(out[static_cast<size_t>(row) * width + i], expected,
                      5e-7 * std::abs(expected) + 1e-35);
        }
      }
    }
  }
}

TEST(Silu, StaysFiniteFarOut) {
  for (const OpsFunctions* ops : AllOpsFunctions()) {
    const std::vector<float> gate_up{-1000, -89, -88, 0, 89, 1000, 1, 1, 1, 1, 1, 1};
    std::vector<float> out(6);
    ops->silu_and_multiply(gate_up.data(), 1, 6, out.data());
    EXPECT_NEAR(out[0], 0.0F, 1e-30F);
    EXPECT_NEAR(out[1], 0.0F, 1e-30F);
    EXPECT_NEAR(out[2], 0.0F, 1e-30F);
    EXPECT_EQ(out[3], 0.0F);
    EXPECT_EQ(out[4], 89.0F);
    EXPECT_EQ(out[5], 1000.0F);
  }
}

TEST(Softmax, ExponentialIsWithinTwoUnitsInTheLastPlace) {
  for (const OpsFunctions* ops : AllOpsFunctions()) {
    // With a logit of 0 that dominates nothing, probabilities are exp(x) / sum: compare quotients.
    for (int seed = 0; seed < Scaled(200); ++seed) {
      auto logits = RandomFloats(9, seed, 40.0F);
      for (float& logit : logits) logit -= 41.0F;
      logits[0] = 0.0F;
      std::vector<float> p(9);
      ops->softmax(logits.data(), 9, p.data());
      double sum = 0;
      for (const float logit : logits) sum += std::exp(double{logit});
      for (int i = 0; i < 9; ++i) {
        const double expected = std::exp(double{logits[i]}) / sum;
        EXPECT_NEAR(p[i] / expected, 1.0, 4e-7) << "seed " << seed << " logit " << logits[i];
      }
    }
  }
}

TEST(Softmax, IgnoresWhatIsMinusInfinite) {
  for (const OpsFunctions* ops : AllOpsFunctions()) {
    const std::vector<float> logits{0, -std::numeric_limits<float>::infinity(), 0};
    std::vector<float> p(3);
    ops->softmax(logits.data(), 3, p.data());
    EXPECT_THAT(p, testing::ElementsAre(0.5F, 0.0F, 0.5F));
  }
}

TEST(SoftmaxTopK, TakesTheLargestWithTiesToTheLowestId) {
  const std::vector<float> logits{1, 3, 2, 3, 0, 2};
  std::vector<int32_t> experts(4);
  std::vector<float> weights(4);
  std::vector<float> scratch(6);
  SoftmaxTopK(logits.data(), 6, 4, true, experts.data(), weights.data(), scratch.data());
  EXPECT_THAT(experts, testing::ElementsAre(1, 3, 2, 5));
  const float e = std::exp(1.0F);
  EXPECT_NEAR(weights[0], e / (2 * e + 2), 1e-6);
  EXPECT_NEAR(weights[3], 1 / (2 * e + 2), 1e-6);
  EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0F), 1.0F, 1e-6);
}

TEST(SoftmaxTopK, LeavesProbabilitiesAsTheyAreUnlessAskedToNormalise) {
  const std::vector<float> logits{0, 0, 0, 0};
  std::vector<int32_t> experts(2);
  std::vector<float> weights(2);
  std::vector<float> scratch(4);
  SoftmaxTopK(logits.data(), 4, 2, false, experts.data(), weights.data(), scratch.data());
  EXPECT_THAT(experts, testing::ElementsAre(0, 1));
  EXPECT_THAT(weights, testing::ElementsAre(0.25F, 0.25F));
}

TEST(SoftmaxTopK, GivesDifferentExpertsEvenForNaN) {
  const std::vector<float> logits(5, std::numeric_limits<float>::quiet_NaN());
  std::vector<int32_t> experts(5);
  std::vector<float> weights(5);
  std::vector<float> scratch(5);
  SoftmaxTopK(logits.data(), 5, 5, true, experts.data(), weights.data(), scratch.data());
  EXPECT_THAT(experts, testing::UnorderedElementsAre(0, 1, 2, 3, 4));
}

TEST(ArgMax, TakesTheFirstOfEquals) {
  EXPECT_EQ(ArgMax(std::vector<float>{-3, 5, 1, 5}), 1);
  EXPECT_EQ(ArgMax(std::vector<float>{-1}), 0);
}

TEST(Add, AddsWithAndWithoutAScale) {
  const std::vector<float> x{1, 2, 3};
  std::vector<float> y{10, 20, 30};
  AddInPlace(x.data(), 3, y.data());
  EXPECT_THAT(y, testing::ElementsAre(11, 22, 33));
  AddScaled(x.data(), -2.0F, 3, y.data());
  EXPECT_THAT(y, testing::ElementsAre(9, 18, 27));
}

}  // namespace
}  // namespace steelyard
