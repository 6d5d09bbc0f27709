#include "steelyard/base/span.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace steelyard {
namespace {

std::vector<int> Counting(size_t size) {
  std::vector<int> values(size);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST(Span2, IsRowMajor) {
  std::vector<int> values = Counting(6);
  const Span2<int> span(values, 2, 3);
  EXPECT_EQ(span.num_rows(), 2U);
  EXPECT_EQ(span.num_cols(), 3U);
  EXPECT_EQ(span.size(), 6U);
  EXPECT_EQ(span(1, 0), 3);
  EXPECT_EQ(span.row(1).size(), 3U);
  EXPECT_EQ(span.row(1)[2], 5);
  EXPECT_EQ(span.flat()[4], 4);
}

TEST(Span2, WritesGoThrough) {
  std::vector<int> values = Counting(4);
  const Span2<int> span(values, 2, 2);
  span(1, 1) = 9;
  span.row(0)[1] = 7;
  EXPECT_EQ(values, (std::vector<int>{0, 7, 2, 9}));
}

TEST(Span2, BecomesASpanOfConst) {
  std::vector<int> values = Counting(4);
  const Span2<const int> span = Span2<int>(values, 2, 2);
  EXPECT_EQ(span(1, 0), 2);
  static_assert(!std::is_convertible_v<Span2<const int>, Span2<int>>);
}

TEST(Span2, IsEmptyByDefault) { EXPECT_EQ(Span2<int>().size(), 0U); }

TEST(Span2DeathTest, AShapeThatDoesNotFitEndsTheProcessNamingBothSizes) {
  std::vector<int> values = Counting(5);
  EXPECT_DEATH(Span2<int>(values, 2, 3), "check failed: .*\\(5 against 6\\)");
}

}  // namespace
}  // namespace steelyard
