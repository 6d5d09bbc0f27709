// A table of loads as a picture for a terminal: a cell is darker or hotter the larger its value.
#pragma once

#include <string>

#include "steelyard/base/span.h"

namespace steelyard {

enum class HeatMapStyle {
  kPlain,    // ASCII, for files and pipes
  kColours,  // 256 colours, for terminals
};

/// What suits standard output.
HeatMapStyle HeatMapStyleOfOutput();

struct HeatMapOptions {
  std::string row_name = "row";        // of one row, before its number
  std::string column_name = "column";  // of one column, in the legend
  HeatMapStyle style = HeatMapStyle::kPlain;
  int max_rows = 64;     // more rows are shown in equal runs, each by its hottest
  int max_columns = 64;  // the same for columns
};

/// A line for each row, its number in front and its largest value behind, and a legend. `values`
/// [rows, columns] are relative to a mean of 1 and not negative; the scale goes from 0 to the
/// largest, or to 2 where that is less. Empty where there is no value.
std::string HeatMap(Span2<const double> values, const HeatMapOptions& options);

}  // namespace steelyard
