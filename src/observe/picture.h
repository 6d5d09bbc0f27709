// Small pictures for a terminal: bars of rank loads, and tables whose columns line up.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace steelyard {

/// One line per rank: a bar as long as its load relative to the hottest rank, and load / mean. Many
/// ranks are shown in equal runs, each by its hottest. `max_lines` >= 1.
std::string RankLoadPicture(std::span<const double> rank_loads, int max_lines = 16);

/// One line of bars, as high as each value relative to the largest, at most `width` of them (runs
/// by their largest).
std::string Sparkline(std::span<const double> values, int width = 64);

/// Rows of cells under a header; the first column is aligned left, the others right.
std::string TextTable(const std::vector<std::string>& header,
                      const std::vector<std::vector<std::string>>& rows);

}  // namespace steelyard
