// Small pictures for a terminal: bars of rank loads, and tables whose columns line up.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace steelyard {

/// One line per rank: a bar as long as its load relative to the hottest rank, and load / mean. Many
/// ranks are shown in equal runs, each by its hottest. `max_lines` >= 1.
std::string RankLoadPicture(std::span<const double> rank_loads, int max_lines = 16);

/// Two pictures side by side under their names, on one scale, for loads as
/// WindowStats::rank_loads has them (hottest rank of each layer first). Where the mean lies is
/// marked, so a level picture ends at the mark. Requires: both of one size, `max_lines` >= 1.
std::string BeforeAfterPicture(const std::string& before_name, std::span<const double> before,
                               const std::string& after_name, std::span<const double> after,
                               int max_lines = 16);

/// One line of bars, as high as each value relative to the largest, at most `width` of them (runs
/// by their largest).
std::string Sparkline(std::span<const double> values, int width = 64);

/// Rows of cells under a header; columns of numbers are aligned right, others left.
std::string TextTable(const std::vector<std::string>& header,
                      const std::vector<std::vector<std::string>>& rows);

}  // namespace steelyard
