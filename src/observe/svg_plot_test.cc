#include "observe/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(SvgPlot, TicksAreEasyToReadAndWithinTheRange) {
  EXPECT_THAT(NiceTicks(0.0, 10.0, 6, false), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(NiceTicks(1.0, 4.4, 4, false), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(NiceTicks(0.0, 2.0, 8, true), ElementsAre(0, 1, 2));
  for (double high = 1e-6; high < 1e9; high *= 3.7) {
    for (const double low : {0.0, high * 0.5, high * 0.99, -high}) {
      const std::vector<double> ticks = NiceTicks(low, high, 7, false);
      ASSERT_GE(ticks.size(), 1U) << low << ".." << high;
      ASSERT_LE(ticks.size(), 7U) << low << ".." << high;
      EXPECT_GE(ticks.front(), low - 1e-9 * high) << low << ".." << high;
      EXPECT_LE(ticks.back(), high * (1 + 1e-9)) << low << ".." << high;
    }
  }
}

Plot Diagonal() {
  return {"a < b",
          {.label = "window (number)", .from_zero = true, .whole = true},
          {.label = "load (tokens)", .from_zero = true},
          {{.name = "one & only", .color = 3, .points = {{0, 0}, {5, 50}, {10, 100, "end"}}}}};
}

TEST(SvgPlot, PointsLieWhereTheAxesSay) {
  const std::string svg = SvgPlot(Diagonal());
  // The plotting area is x 66..688, y 292..34, and y has 4 % above its largest value.
  EXPECT_THAT(svg, HasSubstr("d=\"M66.0 292.0L377.0 168.0L688.0 43.9\""));
  EXPECT_THAT(svg, HasSubstr(">window (number)</text>"));
  EXPECT_THAT(svg, HasSubstr(">load (tokens)</text>"));
  EXPECT_THAT(svg, HasSubstr(">end</text>"));
  EXPECT_THAT(svg, HasSubstr("var(--c3)"));
}

TEST(SvgPlot, NamesAreNeverMarkup) {
  EXPECT_EQ(EscapeMarkup("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
  const std::string svg = SvgPlot(Diagonal());
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("one &amp; only"));
}

TEST(SvgPlot, MagnitudesAreEvenlySpaced) {
  Plot plot = Diagonal();
  plot.y.scale = AxisScale::kMagnitude;
  plot.series[0].points = {{0, 0}, {5, 9}, {10, 99}};
  EXPECT_THAT(SvgPlot(plot), HasSubstr("d=\"M66.0 292.0L377.0 163.0L688.0 34.0\""));
}

TEST(SvgPlot, WhatCannotBeShownIsLeftOut) {
  Plot plot = Diagonal();
  plot.series[0].points[1].y = NAN;
  const std::string svg = SvgPlot(plot);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr("d=\"M66.0 292.0L688.0"));
  plot.series[0].points = {};
  EXPECT_THAT(SvgPlot(plot), HasSubstr("nothing to show"));
  plot.series[0].points = {{3, 7}};
  EXPECT_THAT(SvgPlot(plot), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace steelyard
