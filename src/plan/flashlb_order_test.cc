#include "plan/flashlb_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

std::vector<int32_t> Order(const std::vector<double>& values) {
  std::vector<int32_t> order(values.size());
  FlashlbOrder sorter;
  sorter.SortDescending(values, order);
  return order;
}

TEST(FlashlbOrder, FewValuesAreSortedStably) {
  EXPECT_EQ(Order({}), (std::vector<int32_t>{}));
  EXPECT_EQ(Order({2, 5, 2, 7, 5}), (std::vector<int32_t>{3, 1, 4, 0, 2}));
}

// By hand: of sixteen equal values, the middle one (7) goes last as the pivot and 15 takes its
// place; both scans stop at every value, so that 0..6 change places with 14..8, and the pivot comes
// back to where they meet. Insertion leaves the parts on both sides as they are.
TEST(FlashlbOrder, ManyEqualValuesAreTurnedAroundThePivot) {
  EXPECT_EQ(Order(std::vector<double>(16, 1.0)),
            (std::vector<int32_t>{14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15}));
}

TEST(FlashlbOrder, EveryIndexComesOnceAndNoLargerValueAfterIt) {
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::vector<double> values(random() % 600);
    const unsigned num_kinds = 1 + random() % 1000;
    for (double& value : values) value = random() % num_kinds;
    if (seed % 3 == 0) std::sort(values.begin(), values.end());
    const std::vector<int32_t> order = Order(values);
    for (size_t i = 1; i < order.size(); ++i) {
      ASSERT_GE(values[order[i - 1]], values[order[i]]);
    }
    std::vector<int32_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    std::vector<int32_t> all(values.size());
    std::iota(all.begin(), all.end(), 0);
    ASSERT_EQ(sorted, all);
  }
}

}  // namespace
}  // namespace steelyard
