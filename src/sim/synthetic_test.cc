#include "sim/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/test_scale.h"

namespace steelyard {
namespace {

SyntheticSpec Spec(SyntheticDrift drift) {
  SyntheticSpec spec;
  spec.drift = drift;
  spec.num_bins = 12;
  spec.num_layers = 2;
  spec.num_experts = 16;
  spec.pairs_per_bin = 20000;
  spec.period = 3;
  return spec;
}

// Half the sum of differences of two bins' shares in layer 0: 0 for alike, 1 for disjoint.
double Distance(const LoadWindow& trace, int a, int b) {
  const std::span<const double> x = trace.experts(a, 0, 0);
  const std::span<const double> y = trace.experts(b, 0, 0);
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::abs(x[i] - y[i]);
  return sum / 2 / std::accumulate(x.begin(), x.end(), 0.0);
}

constexpr double kNoise = 0.03;  // of 20000 pairs over 16 experts; domains are 0.3 and more apart

TEST(Synthetic, PatternsAreWhatTheirNamesSay) {
  const LoadWindow none = MakeSyntheticTrace(Spec(SyntheticDrift::kNone)).value();
  EXPECT_LT(Distance(none, 0, 11), kNoise);
  EXPECT_GT(Distance(none, 0, 11), 0.0);  // drawn, not repeated

  const LoadWindow one_way = MakeSyntheticTrace(Spec(SyntheticDrift::kOneWay)).value();
  EXPECT_GT(Distance(one_way, 0, 11), 0.3);
  EXPECT_LT(Distance(one_way, 5, 6), 0.12);
  EXPECT_NEAR(Distance(one_way, 0, 11), Distance(one_way, 0, 5) + Distance(one_way, 5, 11), 0.06);

  const LoadWindow turns = MakeSyntheticTrace(Spec(SyntheticDrift::kAlternating)).value();
  EXPECT_LT(Distance(turns, 0, 2), kNoise);
  EXPECT_GT(Distance(turns, 2, 3), 0.3);
  EXPECT_LT(Distance(turns, 0, 6), kNoise);

  const LoadWindow back = MakeSyntheticTrace(Spec(SyntheticDrift::kSwitchAndReturn)).value();
  EXPECT_LT(Distance(back, 0, 3), kNoise);
  EXPECT_GT(Distance(back, 3, 4), 0.3);
  EXPECT_LT(Distance(back, 4, 7), kNoise);
  EXPECT_LT(Distance(back, 0, 8), kNoise);

  const LoadWindow mixture = MakeSyntheticTrace(Spec(SyntheticDrift::kMixture)).value();
  EXPECT_GT(Distance(mixture, 0, 11), Distance(mixture, 0, 1));
}

TEST(Synthetic, EveryLayerAndBinHasItsPairsAndSeedsDiffer) {
  for (int seed = 0; seed < Scaled(5); ++seed) {
    for (const std::string_view name : SyntheticDriftNames()) {
      SyntheticSpec spec = Spec(ParseSyntheticDrift(name).value());
      spec.seed = seed;
      const LoadWindow trace = MakeSyntheticTrace(spec).value();
      for (int bin = 0; bin < spec.num_bins; ++bin) {
        for (int layer = 0; layer < spec.num_layers; ++layer) {
          double sum = 0.0;
          for (const double count : trace.experts(bin, 0, layer)) {
            EXPECT_GE(count, 0.0);
            EXPECT_EQ(count, std::floor(count));
            sum += count;
          }
          ASSERT_EQ(sum, 20000.0) << name << ", seed " << seed << ", bin " << bin;
        }
      }
      const auto same = [&trace](const LoadWindow& other) {
        return std::equal(trace.counts().begin(), trace.counts().end(), other.counts().begin());
      };
      EXPECT_TRUE(same(*MakeSyntheticTrace(spec))) << name << ", seed " << seed;
      spec.seed += 1000;
      EXPECT_FALSE(same(*MakeSyntheticTrace(spec))) << name << ", seed " << seed;
    }
  }
}

TEST(Synthetic, NoiseIsThatOfSoManyDraws) {
  SyntheticSpec spec = Spec(SyntheticDrift::kNone);
  spec.num_bins = 400;
  spec.num_experts = 4;
  spec.sigma = 0.0;  // a quarter for each
  const LoadWindow trace = MakeSyntheticTrace(spec).value();
  double square = 0.0;
  for (int bin = 0; bin < spec.num_bins; ++bin) {
    square += std::pow(trace.experts(bin, 0, 0)[1] - 5000.0, 2) / spec.num_bins;
  }
  EXPECT_NEAR(square, 20000.0 * 0.25 * 0.75, 800.0);  // of 400 draws the variance is 7 % sure
}

TEST(Synthetic, RefusesWhatItCannotMake) {
  EXPECT_EQ(ParseSyntheticDrift("sideways").status().message(),
            "'sideways' is not one of none, one-way, alternating, switch-and-return, mixture");
  struct Row {
    void (*spoil)(SyntheticSpec&);
    std::string message;
  };
  for (const Row& row : {
           Row{[](SyntheticSpec& s) { s.num_bins = 0; }, "num_bins is 0, but must be at least 1"},
           Row{[](SyntheticSpec& s) { s.num_experts = -1; },
               "num_experts is -1, but must be at least 1"},
           Row{[](SyntheticSpec& s) { s.period = 0; }, "period is 0, but must be at least 1"},
           Row{[](SyntheticSpec& s) { s.num_bins = 1 << 23; },
               "8388608 bins x 4 layers x 64 experts are more than 268435456 counts"},
           Row{[](SyntheticSpec& s) { s.pairs_per_bin = -1; },
               "pairs_per_bin is -1, but must be in [0, 4294967295]"},
           Row{[](SyntheticSpec& s) { s.sigma = NAN; }, "sigma is nan, but must be in [0, 20]"},
       }) {
    SyntheticSpec spec;
    row.spoil(spec);
    EXPECT_EQ(MakeSyntheticTrace(spec).status().message(), row.message);
  }
}

}  // namespace
}  // namespace steelyard
