#include "observe/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace steelyard {
namespace {

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(RankLoadPicture, BarsAreAsLongAsTheLoads) {
  const std::string picture = RankLoadPicture(std::vector<double>{3.0, 1.5, 0.0});
  EXPECT_EQ(Count(picture, "\n"), 3U);
  EXPECT_EQ(Count(picture, "█"), 40U + 20U);
  EXPECT_THAT(picture, testing::HasSubstr("rank 0"));
  EXPECT_THAT(picture, testing::HasSubstr("2.00"));  // 3 over a mean of 1.5
}

TEST(RankLoadPicture, ManyRanksAreShownInRunsByTheirHottest) {
  std::vector<double> loads(64, 1.0);
  loads[63] = 2.0;
  const std::string picture = RankLoadPicture(loads, 4);
  EXPECT_EQ(Count(picture, "\n"), 4U);
  EXPECT_THAT(picture, testing::HasSubstr("ranks 48-63 " + std::string("█")));
}

TEST(RankLoadPicture, NoLoadsAreNoPicture) {
  EXPECT_EQ(RankLoadPicture({}), "");
  EXPECT_EQ(BeforeAfterPicture("a", {}, "b", {}), "");
}

TEST(BeforeAfterPicture, BothSidesHaveOneScaleAndTheMeanIsMarked) {
  const std::vector<double> before = {1.5, 0.5};
  const std::vector<double> after = {1.0, 1.0};
  const std::string picture = BeforeAfterPicture("off", before, "async", after);
  // 24 columns are 1.5, so 1.0 is 16 and 0.5 is 8.
  EXPECT_EQ(Count(picture, "█"), 24U + 8U + 16U + 16U);
  EXPECT_EQ(Count(picture, "│"), 1U);  // only the bar that ends before the mean
  EXPECT_THAT(picture, testing::HasSubstr("off"));
  EXPECT_THAT(picture, testing::HasSubstr("async"));
  EXPECT_THAT(picture, testing::HasSubstr("hottest rank"));
  EXPECT_THAT(picture, testing::HasSubstr("coldest rank"));
}

TEST(Sparkline, HeightsFollowTheValues) {
  EXPECT_EQ(Sparkline(std::vector<double>{8, 4, 0}), "█▄ ");
  EXPECT_EQ(Sparkline(std::vector<double>{0, 0}), "  ");
  EXPECT_EQ(Sparkline(std::vector<double>{1, 8, 1, 4}, 2), "█▄");
}

TEST(TextTable, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(TextTable({"a", "count", "why"}, {{"x", "7", "kept"}, {"long", "12", "moved"}}),
            "a     count  why\n"
            "x         7  kept\n"
            "long     12  moved\n");
}

}  // namespace
}  // namespace steelyard
