#include "plan/swift_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/test_scale.h"
#include "plan/golden_test_util.h"

namespace steelyard {
namespace {

std::vector<int32_t> Order(const SwiftSet& set) {
  std::vector<int32_t> order;
  set.ForEach([&](int32_t value) { order.push_back(value); });
  return order;
}

// A table of 8: 9 and 17 both belong at 1. The perturbed place of 9 is 1 * 5 + 1 + 0 = 6, that of
// 17 is 6 too and then 6 * 5 + 1 = 7.
TEST(SwiftSet, ValuesThatCollideGoToPerturbedPlaces) {
  SwiftSet set;
  for (const int32_t value : {9, 1, 17}) {
    set.Add(value);
  }
  EXPECT_EQ(Order(set), (std::vector<int32_t>{9, 1, 17}));
  set.Add(0);
  EXPECT_EQ(Order(set), (std::vector<int32_t>{0, 9, 1, 17}));
  set.Add(0);
  EXPECT_EQ(Order(set), (std::vector<int32_t>{0, 9, 1, 17}));
}

TEST(SwiftSet, AnAddedValueTakesTheLastMarkerOnItsWay) {
  SwiftSet set;
  for (const int32_t value : {9, 1, 17}) {  // at 1, 6, 7
    set.Add(value);
  }
  set.Remove(9);
  set.Remove(1);
  set.Add(25);  // meets the markers at 1 and 6
  set.Add(2);
  EXPECT_EQ(Order(set), (std::vector<int32_t>{2, 25, 17}));
}

// 5 entries of 8 are too many: 5 * 5 >= 7 * 3. The new table has 32.
TEST(SwiftSet, TheFifthValueGrowsTheTable) {
  SwiftSet set;
  for (const int32_t value : {33, 18, 3, 12}) {
    set.Add(value);
  }
  EXPECT_EQ(Order(set), (std::vector<int32_t>{33, 18, 3, 12}));
  set.Add(0);
  EXPECT_EQ(Order(set), (std::vector<int32_t>{0, 33, 3, 12, 18}));
}

TEST(SwiftSet, AClearedSetIsANewOne) {
  SwiftSet set;
  for (int32_t value = 0; value < 40; ++value) {
    set.Add(value);
  }
  set.Clear();
  EXPECT_TRUE(Order(set).empty());
  set.Add(9);
  set.Add(1);
  EXPECT_EQ(Order(set), (std::vector<int32_t>{9, 1}));
}

TEST(SwiftSet, IteratesAsCPythonDoes) {
  const Json cases = GoldenCases("cpython_set.json");
  ASSERT_EQ(cases.size(), 60U);
  SwiftSet set;
  for (size_t i = 0; i < cases.size(); ++i) {
    set.Clear();
    for (const int32_t operation : cases[i]["operations"]) {
      if (operation >= 0) {
        set.Add(operation);
      } else {
        set.Remove(-1 - operation);
      }
    }
    EXPECT_EQ(Order(set), cases[i]["order"].get<std::vector<int32_t>>()) << "case " << i;
  }
}

TEST(SwiftSet, HoldsWhatWasAddedAndNotRemoved) {
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    SwiftSet set;
    std::set<int32_t> expected;
    for (int i = 0; i < 200; ++i) {
      const auto value = static_cast<int32_t>(random() % 50);
      if (expected.erase(value) > 0) {
        set.Remove(value);
      } else {
        expected.insert(value);
        set.Add(value);
      }
    }
    std::vector<int32_t> order = Order(set);
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order, std::vector<int32_t>(expected.begin(), expected.end()));
  }
}

}  // namespace
}  // namespace steelyard
