#include "load/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace steelyard {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

/// Windows of two bins, one layer, four experts, in `num_phases` phases.
std::vector<LoadWindow> History(int num_phases,
                                const std::vector<std::vector<double>>& counts_of_windows) {
  std::vector<LoadWindow> history;
  for (const std::vector<double>& counts : counts_of_windows) {
    const int num_bins = static_cast<int>(counts.size()) / 4 / num_phases;
    history.push_back(LoadWindow::Create({num_bins, num_phases, 1, 4}, counts).value());
  }
  return history;
}

std::vector<std::vector<double>> Forecast(const std::vector<LoadWindow>& history,
                                          Predictor predictor, double recency = 0.5) {
  Forecaster forecaster;
  forecaster.Prepare(history.back().shape(), static_cast<int>(history.size()));
  BinScreen screen;
  forecaster.Read(history, screen.Screen(history), 0);
  const Span2<const double> rows = forecaster.Forecast(predictor, recency);
  EXPECT_LE(static_cast<int>(rows.num_rows()),
            Forecaster::MaxRows(history.back().shape(), static_cast<int>(history.size())));
  std::vector<std::vector<double>> copy;
  for (size_t row = 0; row < rows.num_rows(); ++row) {
    copy.emplace_back(rows.row(row).begin(), rows.row(row).end());
  }
  return copy;
}

const std::vector<double> kOne = {40, 20, 10, 10, 20, 40, 10, 10};
const std::vector<double> kTwo = {30, 20, 20, 10, 20, 40, 10, 10};

TEST(Forecaster, LastIsTheBinsOfTheLastWindowAlike) {
  EXPECT_THAT(Forecast(History(1, {kOne, kTwo}), Predictor::kLast),
              ElementsAre(ElementsAre(30, 20, 20, 10), ElementsAre(20, 40, 10, 10)));
}

TEST(Forecaster, RecencyWeighsEachOlderBinLess) {
  EXPECT_THAT(Forecast(History(1, {kOne, kTwo}), Predictor::kRecency, 0.5),
              ElementsAre(ElementsAre(5, 2.5, 1.25, 1.25), ElementsAre(5, 10, 2.5, 2.5),
                          ElementsAre(15, 10, 10, 5), ElementsAre(20, 40, 10, 10)));
}

TEST(Forecaster, EmaWeighsEachOlderWindowAndBinLessAndKeepsThemApart) {
  EXPECT_THAT(Forecast(History(1, {kOne, kTwo}), Predictor::kEma),
              ElementsAre(ElementsAre(15, 7.5, 3.75, 3.75), ElementsAre(10, 20, 5, 5),
                          ElementsAre(22.5, 15, 15, 7.5), ElementsAre(20, 40, 10, 10)));
  EXPECT_THAT(Forecast(History(1, {kTwo}), Predictor::kEma),
              ElementsAre(ElementsAre(30, 20, 20, 10), ElementsAre(20, 40, 10, 10)));
}

TEST(Forecaster, PooledTakesFourWindowsAlike) {
  const auto rows = Forecast(History(1, {kOne, kTwo, kOne, kTwo, kOne}), Predictor::kPooled);
  ASSERT_EQ(rows.size(), 8u);
  for (int window = 0; window < 4; ++window) {
    const bool is_one = window % 2 == 1;
    EXPECT_THAT(rows[2 * window],
                is_one ? ElementsAre(40, 20, 10, 10) : ElementsAre(30, 20, 20, 10));
    EXPECT_THAT(rows[2 * window + 1], ElementsAre(20, 40, 10, 10));
  }
}

/// `num_bins` bins, those of kOne in turn.
std::vector<double> Bins(int num_bins) {
  std::vector<double> counts;
  for (int bin = 0; bin < num_bins; ++bin) {
    counts.insert(counts.end(), kOne.begin() + 4 * (bin % 2), kOne.begin() + 4 * (bin % 2) + 4);
  }
  return counts;
}

TEST(Forecaster, BinsBeyondSixteenJoinTheRowThatTheyResemble) {
  const auto rows = Forecast(History(1, {Bins(20)}), Predictor::kRecency, 1.0);
  ASSERT_EQ(rows.size(), 16u);
  EXPECT_THAT(rows[0], ElementsAre(120, 60, 30, 30));  // bins 0, 2 and 4
  EXPECT_THAT(rows[1], ElementsAre(60, 120, 30, 30));  // bins 1, 3 and 5
  EXPECT_THAT(rows[15], ElementsAre(20, 40, 10, 10));
}

TEST(Forecaster, TheNewestWindowKeepsItsBinsHoweverLongTheHistory) {
  for (const Predictor predictor : {Predictor::kEma, Predictor::kPooled}) {
    const auto rows = Forecast(History(1, std::vector(16, Bins(8))), predictor);
    ASSERT_EQ(rows.size(), 16u);
    for (const std::vector<double>& row : rows) {
      EXPECT_THAT(row[0] / row[1], testing::AnyOf(DoubleNear(2, 1e-9), DoubleNear(0.5, 1e-9)));
    }
    EXPECT_THAT(rows[15], ElementsAre(20, 40, 10, 10));
  }
}

TEST(Forecaster, SaysHowManyBinsEachRowStandsFor) {
  Forecaster forecaster;
  const auto weights = [&](const std::vector<LoadWindow>& history, Predictor predictor) {
    forecaster.Prepare(history.back().shape(), static_cast<int>(history.size()));
    BinScreen screen;
    forecaster.Read(history, screen.Screen(history), 0);
    forecaster.Forecast(predictor, 0.5);
    return forecaster.row_weights();
  };
  EXPECT_THAT(weights(History(1, {kOne, kTwo}), Predictor::kEma), ElementsAre(0.375, 0.5, 0.75, 1));
  EXPECT_EQ(weights(History(1, {Bins(20)}), Predictor::kLast)[0], 3.0);
  // A bin of 80 tokens of prefill and 20 of decode.
  const std::vector<double> phases = {20, 20, 20, 20, 0, 20, 0, 0};
  EXPECT_THAT(weights(History(2, {phases, phases}), Predictor::kPhases), ElementsAre(0.8, 0.2));
}

TEST(Forecaster, BinsWithNextToNoWeightAreLeftOut) {
  EXPECT_EQ(Forecast(History(1, {Bins(14)}), Predictor::kRecency, 0.5).size(), 11u);
}

TEST(Forecaster, AWindowCountsForAQuarterOfTheNextHoweverFewItsBins) {
  const std::vector<double> a = {40, 20, 20, 20};
  const std::vector<double> b = {20, 20, 20, 40};
  EXPECT_THAT(Forecast(History(1, {a, b}), Predictor::kRecency, 0.9),
              ElementsAre(ElementsAre(10, 5, 5, 5), ElementsAre(20, 20, 20, 40)));
}

// Distances between neighbours are small until the switch, which is ten times as far.
TEST(Forecaster, WhatWasBeforeASuddenSwitchWeighsHalfUntilItReturns) {
  const std::vector<double> a = {40, 40, 10, 10};
  const std::vector<double> a2 = {42, 38, 10, 10};
  const std::vector<double> b = {10, 10, 40, 40};
  EXPECT_THAT(Forecast(History(1, {a, a2, a, a2, b}), Predictor::kPooled),
              ElementsAre(ElementsAre(21, 19, 5, 5), ElementsAre(20, 20, 5, 5),
                          ElementsAre(21, 19, 5, 5), ElementsAre(10, 10, 40, 40)));
  EXPECT_THAT(Forecast(History(1, {a, a2, a, a2, b, b, a}), Predictor::kPooled),
              ElementsAre(ElementsAre(42, 38, 10, 10), ElementsAre(5, 5, 20, 20),
                          ElementsAre(5, 5, 20, 20), ElementsAre(40, 40, 10, 10)));
}

TEST(Forecaster, LoadsThatKeepSwitchingWeighAlike) {
  const std::vector<double> a = {40, 40, 10, 10};
  const std::vector<double> b = {10, 10, 40, 40};
  const auto tokens_of_rows = [&](const std::vector<std::vector<double>>& windows) {
    std::vector<double> tokens;
    for (const std::vector<double>& row : Forecast(History(1, windows), Predictor::kPooled)) {
      tokens.push_back(row[0] + row[1] + row[2] + row[3]);
    }
    return tokens;
  };
  EXPECT_THAT(tokens_of_rows({a, b, a, b, a}), ElementsAre(100, 100, 100, 100));
  EXPECT_THAT(tokens_of_rows({a, a, b, b, a, a, b}), ElementsAre(100, 50, 50, 100));
  EXPECT_THAT(tokens_of_rows({a, a, b, b, a, a, b, b}), ElementsAre(100, 100, 100, 100));
}

// The last window: 80 tokens of prefill, 20 of decode. Profiles come from both windows.
TEST(Forecaster, PhasesHaveProfilesOfTheirOwnWeighedByTheirTraffic) {
  const std::vector<double> first = {0, 0, 50, 50, 100, 0, 0, 0};
  const std::vector<double> second = {20, 20, 20, 20, 0, 20, 0, 0};
  const auto rows = Forecast(History(2, {first, second}), Predictor::kPhases);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(rows[0], ElementsAre(DoubleNear(10, 1e-9), DoubleNear(10, 1e-9), DoubleNear(30, 1e-9),
                                   DoubleNear(30, 1e-9)));
  EXPECT_THAT(rows[1], ElementsAre(DoubleNear(16, 1e-9), DoubleNear(4, 1e-9), 0, 0));
}

TEST(Forecaster, APhaseWithoutTrafficInTheLastWindowHasNoRow) {
  const std::vector<double> first = {0, 0, 50, 50, 100, 0, 0, 0};
  const std::vector<double> second = {20, 20, 20, 20, 0, 0, 0, 0};
  EXPECT_EQ(Forecast(History(2, {first, second}), Predictor::kPhases).size(), 1u);
}

TEST(Forecaster, BinsThatWereScreenedAreNotPartOfAWindow) {
  const std::vector<double> half = {0, 0, 0, 0, 20, 40, 10, 10};
  EXPECT_THAT(Forecast(History(1, {kOne, half}), Predictor::kLast),
              ElementsAre(ElementsAre(20, 40, 10, 10)));
}

TEST(Predictors, HaveNames) {
  std::string names;
  for (const Predictor predictor : kPredictors) names.append(PredictorName(predictor)).append(" ");
  EXPECT_EQ(names, "auto last recency ema pooled phases ");
}

}  // namespace
}  // namespace steelyard
