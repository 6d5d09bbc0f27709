// Line plots as inline SVG: no script, no font or file from elsewhere. Colours come from the page's
// style sheet (PlotStyle()), so that one picture serves light and dark screens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steelyard {

struct PlotPoint {
  double x = 0.0;
  double y = 0.0;
  std::string label = {};  // written beside the point where it is not empty
};

struct PlotSeries {
  std::string name;  // in the legend; what a pointer over the line shows
  int color = 0;     // index into the style sheet's colours, modulo their number
  bool strong = false;
  bool dashed = false;
  std::vector<PlotPoint> points = {};
};

/// kMagnitude shows x as log10(1 + x): from 0 over ones to many thousands, evenly.
enum class AxisScale { kLinear, kMagnitude };

struct PlotAxis {
  std::string label;  // quantity and unit
  AxisScale scale = AxisScale::kLinear;
  bool from_zero = false;  // else from the smallest value
  bool whole = false;      // ticks at whole numbers only
};

struct Plot {
  std::string title;
  PlotAxis x;
  PlotAxis y;
  std::vector<PlotSeries> series;
};

/// Numbers that are easy to read, evenly spaced, at most `most` of them and at least one, within
/// [low, high]. Requires: low <= high, both finite; most >= 2.
std::vector<double> NiceTicks(double low, double high, int most, bool whole);

/// One <svg> element, as wide as its container. Points that are not finite are left out; series of
/// no points stay in the legend; a plot of none at all says so.
std::string SvgPlot(const Plot& plot);

/// CSS that SvgPlot() needs, for <style>: colours for light and dark.
std::string_view PlotStyle();

/// `text` with the characters that HTML and SVG read as markup written out.
std::string EscapeMarkup(std::string_view text);

}  // namespace steelyard
