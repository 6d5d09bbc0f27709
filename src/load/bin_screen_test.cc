#include "load/bin_screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace steelyard {
namespace {

using testing::ElementsAre;

/// Bins of one layer of 8 experts, a window each of `num_bins`.
std::vector<LoadWindow> History(int num_bins, const std::vector<std::vector<double>>& bins) {
  std::vector<LoadWindow> history;
  std::vector<double> counts;
  for (size_t i = 0; i < bins.size(); ++i) {
    counts.insert(counts.end(), bins[i].begin(), bins[i].end());
    if ((i + 1) % num_bins == 0) {
      history.push_back(LoadWindow::Create({num_bins, 1, 1, 8}, counts).value());
      counts.clear();
    }
  }
  return history;
}

std::vector<std::pair<int, int>> Kept(const std::vector<LoadWindow>& history) {
  BinScreen screen;
  std::vector<std::pair<int, int>> kept;
  for (const BinRef& bin : screen.Screen(history)) kept.emplace_back(bin.window_idx, bin.bin_idx);
  return kept;
}

const std::vector<double> kReal = {40, 30, 20, 10, 5, 5, 5, 5};
const std::vector<double> kSkewed = {110, 0, 0, 0, 10, 0, 0, 0};
const std::vector<double> kEmpty = {0, 0, 0, 0, 0, 0, 0, 0};
const std::vector<double> kWarmUp = {4, 3, 2, 1, 0, 0, 0, 0};   // 10 tokens where 120 are usual
const std::vector<double> kDummy = {64, 0, 0, 64, 0, 0, 0, 0};  // one token, repeated, on its top 2

TEST(BinScreen, LeavesOutEmptyBinsWarmUpAndDummyBatches) {
  EXPECT_THAT(Kept(History(2, {kDummy, kWarmUp, kReal, kEmpty, kSkewed, kReal})),
              ElementsAre(std::pair(1, 0), std::pair(2, 0), std::pair(2, 1)));
}

TEST(BinScreen, KeepsAWindowThatIsAllThereIs) {
  EXPECT_THAT(Kept(History(1, {kDummy})), ElementsAre(std::pair(0, 0)));
  EXPECT_THAT(Kept(History(2, {kEmpty, kEmpty})), ElementsAre(std::pair(0, 0), std::pair(0, 1)));
}

TEST(BinScreen, EqualLoadsOfMostExpertsAreNoDummy) {
  const std::vector<double> equal(8, 15.0);
  EXPECT_THAT(Kept(History(1, {equal, kReal})), ElementsAre(std::pair(0, 0), std::pair(1, 0)));
}

TEST(BinScreen, ADummyBatchLooksLikeOneInEveryLayer) {
  std::vector<double> counts = kDummy;
  counts.insert(counts.end(), kReal.begin(), kReal.end());
  counts.insert(counts.end(), kReal.begin(), kReal.end());
  counts.insert(counts.end(), kReal.begin(), kReal.end());
  const std::vector<LoadWindow> history = {LoadWindow::Create({2, 1, 2, 8}, counts).value()};
  EXPECT_THAT(Kept(history), ElementsAre(std::pair(0, 0), std::pair(0, 1)));
}

}  // namespace
}  // namespace steelyard
