#include "observe/heat_map.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace steelyard {
namespace {

constexpr std::string_view kAscii = " .:-=+*#%@";
// Of the 256 colours of a terminal: from dark blue over green to red.
constexpr std::array<int, 10> kColours = {17, 19, 26, 31, 35, 71, 148, 220, 208, 196};
static_assert(kAscii.size() == kColours.size());
constexpr int kNumLevels = static_cast<int>(kColours.size());

std::string Cell(int level, HeatMapStyle style) {
  return style == HeatMapStyle::kPlain ? std::string(1, kAscii[level])
                                       : fmt::format("\x1b[48;5;{}m \x1b[0m", kColours[level]);
}

// [num_runs + 1] where runs begin and end; lengths differ by one at most.
std::vector<size_t> CutIntoRuns(size_t size, int max_runs) {
  const size_t num_runs = std::min(size, static_cast<size_t>(max_runs));
  std::vector<size_t> bounds;
  for (size_t i = 0; i <= num_runs; ++i) {
    bounds.push_back(size * i / num_runs);
  }
  return bounds;
}

double Hottest(Span2<const double> values, size_t first_row, size_t end_row, size_t first_column,
               size_t end_column) {
  double hottest = 0.0;
  for (size_t row = first_row; row < end_row; ++row) {
    for (size_t column = first_column; column < end_column; ++column) {
      hottest = std::max(hottest, values(row, column));
    }
  }
  return hottest;
}

std::string Legend(double full, size_t num_columns, const HeatMapOptions& options) {
  std::string scale;
  for (int level = 0; level < kNumLevels; ++level) {
    scale += Cell(level, options.style);
  }
  return fmt::format("{} {}{} from left to right; 0 {} {:.2f} x mean\n", num_columns,
                     options.column_name, num_columns == 1 ? "" : "s", scale, full);
}

}  // namespace

HeatMapStyle HeatMapStyleOfOutput() {
  const char* terminal = std::getenv("TERM");
  const bool has_colours = terminal != nullptr && std::string_view(terminal) != "dumb" &&
                           std::getenv("NO_COLOR") == nullptr;
  return has_colours && isatty(STDOUT_FILENO) == 1 ? HeatMapStyle::kColours : HeatMapStyle::kPlain;
}

std::string HeatMap(Span2<const double> values, const HeatMapOptions& options) {
  if (values.size() == 0) {
    return "";
  }
  const std::vector<size_t> rows = CutIntoRuns(values.num_rows(), options.max_rows);
  const std::vector<size_t> columns = CutIntoRuns(values.num_cols(), options.max_columns);
  constexpr double kLeastFull = 2.0;
  const double full =
      std::max(kLeastFull, Hottest(values, 0, values.num_rows(), 0, values.num_cols()));
  std::string picture;
  for (size_t i = 0; i + 1 < rows.size(); ++i) {
    const bool is_one = rows[i + 1] - rows[i] == 1;
    const std::string name =
        is_one ? fmt::format("{} {}", options.row_name, rows[i])
               : fmt::format("{}s {}-{}", options.row_name, rows[i], rows[i + 1] - 1);
    picture += fmt::format("{:>14} |", name);
    for (size_t k = 0; k + 1 < columns.size(); ++k) {
      const double value = Hottest(values, rows[i], rows[i + 1], columns[k], columns[k + 1]);
      const int level = static_cast<int>(value / full * kNumLevels);
      picture += Cell(std::min(level, kNumLevels - 1), options.style);
    }
    picture += fmt::format("| {:.2f}\n", Hottest(values, rows[i], rows[i + 1], 0, columns.back()));
  }
  return picture + fmt::format("{:>14}  ", "") + Legend(full, values.num_cols(), options);
}

}  // namespace steelyard
