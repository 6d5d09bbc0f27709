#include "observe/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace steelyard {
namespace {

constexpr int kBarWidth = 40;
constexpr int kHalfBarWidth = 24;

struct Run {
  size_t first = 0;
  size_t last = 0;  // included
  double hottest = 0.0;
};

// Cuts `values` into at most `max_runs` runs whose lengths differ by one at most.
std::vector<Run> CutIntoRuns(std::span<const double> values, int max_runs) {
  const size_t num_runs = std::min(values.size(), static_cast<size_t>(max_runs));
  std::vector<Run> runs;
  for (size_t i = 0; i < num_runs; ++i) {
    Run run{values.size() * i / num_runs, values.size() * (i + 1) / num_runs - 1, 0.0};
    run.hottest = *std::max_element(values.begin() + static_cast<std::ptrdiff_t>(run.first),
                                    values.begin() + static_cast<std::ptrdiff_t>(run.last) + 1);
    runs.push_back(run);
  }
  return runs;
}

// A bar of `value` where `full` fills the width, with a mark where 1 lies.
std::string MarkedBar(double value, double full) {
  const auto place = [full](double at) {
    return static_cast<int>(std::lround(at / full * kHalfBarWidth));
  };
  std::string bar;
  for (int i = 0; i < kHalfBarWidth; ++i) {
    bar += i < place(value) ? "█" : (i == place(1.0) - 1 ? "│" : "·");
  }
  return bar;
}

bool IsNumber(const std::string& cell) {
  return !cell.empty() && cell.find_first_not_of("0123456789.-") == std::string::npos;
}

std::string RunName(const Run& run) {
  return run.first == run.last ? fmt::format("rank {}", run.first)
                               : fmt::format("ranks {}-{}", run.first, run.last);
}

}  // namespace

std::string RankLoadPicture(std::span<const double> rank_loads, int max_lines) {
  if (rank_loads.empty()) {
    return "";
  }
  const double mean = std::accumulate(rank_loads.begin(), rank_loads.end(), 0.0) /
                      static_cast<double>(rank_loads.size());
  const double hottest = *std::max_element(rank_loads.begin(), rank_loads.end());
  std::string picture;
  for (const Run& run : CutIntoRuns(rank_loads, max_lines)) {
    const int length =
        hottest > 0.0 ? static_cast<int>(std::lround(run.hottest / hottest * kBarWidth)) : 0;
    std::string bar;
    for (int i = 0; i < kBarWidth; ++i) {
      bar += i < length ? "█" : "·";
    }
    picture += fmt::format("{:>12} {} {:5.2f}\n", RunName(run), bar,
                           mean > 0.0 ? run.hottest / mean : 1.0);
  }
  return picture;
}

std::string BeforeAfterPicture(const std::string& before_name, std::span<const double> before,
                               const std::string& after_name, std::span<const double> after,
                               int max_lines) {
  if (before.empty()) {
    return "";
  }
  const double full = std::max({1.0, *std::max_element(before.begin(), before.end()),
                                *std::max_element(after.begin(), after.end())});
  std::string picture = fmt::format("{:>12} {:<{}} {:>5} {:<{}}\n", "", before_name, kHalfBarWidth,
                                    "", "  " + after_name, kHalfBarWidth);
  const std::vector<Run> left = CutIntoRuns(before, max_lines);
  const std::vector<Run> right = CutIntoRuns(after, max_lines);
  for (size_t i = 0; i < left.size(); ++i) {
    const std::string name = i == 0                 ? "hottest rank"
                             : i + 1 == left.size() ? "coldest rank"
                                                    : fmt::format("{}.", left[i].first + 1);
    picture +=
        fmt::format("{:>12} {} {:5.2f}   {} {:5.2f}\n", name, MarkedBar(left[i].hottest, full),
                    left[i].hottest, MarkedBar(right[i].hottest, full), right[i].hottest);
  }
  return picture;
}

std::string Sparkline(std::span<const double> values, int width) {
  static constexpr const char* kLevels[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const double largest = values.empty() ? 0.0 : *std::max_element(values.begin(), values.end());
  std::string line;
  for (const Run& run : CutIntoRuns(values, width)) {
    line += kLevels[largest > 0.0 ? static_cast<int>(std::lround(run.hottest / largest * 8)) : 0];
  }
  return line;
}

std::string TextTable(const std::vector<std::string>& header,
                      const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) {
    widths.push_back(cell.size());
  }
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string table;
  const auto append = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      const bool last = i + 1 == row.size();
      const bool right = i > 0 && !rows.empty() && i < rows[0].size() && IsNumber(rows[0][i]);
      table += i == 0 ? "" : "  ";
      table += right ? fmt::format("{:>{}}", row[i], widths[i])
                     : fmt::format("{:<{}}", row[i], last ? 0 : widths[i]);
    }
    table += '\n';
  };
  append(header);
  for (const std::vector<std::string>& row : rows) {
    append(row);
  }
  return table;
}

}  // namespace steelyard
