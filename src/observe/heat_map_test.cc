#include "observe/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace steelyard {
namespace {

using testing::HasSubstr;

TEST(HeatMap, ShowsEveryCellByItsValueAndEveryRowByItsLargest) {
  const std::vector<double> values = {0.0, 1.0, 2.0, 1.0, 4.0, 0.5};
  EXPECT_EQ(HeatMap({values.data(), 2, 3}, {.row_name = "layer", .column_name = "rank"}),
            "       layer 0 | :+| 2.00\n"
            "       layer 1 |:@.| 4.00\n"
            "                3 ranks from left to right; 0  .:-=+*#%@ 4.00 x mean\n");
}

TEST(HeatMap, OfALevelTableIsInTheMiddleOfTheScale) {
  const std::vector<double> values = {1.0, 1.0};
  EXPECT_THAT(HeatMap({values.data(), 1, 2}, {}), HasSubstr("row 0 |++| 1.00\n"));
}

TEST(HeatMap, ShowsRunsByTheirHottestWhereThereAreMoreRowsOrColumns) {
  std::vector<double> values(100 * 300, 1.0);
  values[42 * 300 + 299] = 3.0;
  const std::string picture =
      HeatMap({values.data(), 100, 300}, {.max_rows = 10, .max_columns = 30});
  EXPECT_EQ(std::count(picture.begin(), picture.end(), '\n'), 11);
  EXPECT_THAT(picture, HasSubstr("rows 40-49 |" + std::string(29, '-') + "@| 3.00\n"));
  EXPECT_THAT(picture, HasSubstr("300 columns from left to right"));
}

TEST(HeatMap, HasColoursOnlyWhereTheyAreAskedFor) {
  const std::vector<double> values = {0.0, 2.0};
  const std::string picture = HeatMap({values.data(), 1, 2}, {.style = HeatMapStyle::kColours});
  EXPECT_THAT(picture, HasSubstr("|\x1b[48;5;17m \x1b[0m\x1b[48;5;196m \x1b[0m| 2.00\n"));
  EXPECT_EQ(HeatMap({values.data(), 1, 2}, {}).find('\x1b'), std::string::npos);
}

TEST(HeatMap, OfNothingIsEmpty) { EXPECT_EQ(HeatMap({}, {}), ""); }

}  // namespace
}  // namespace steelyard
