#include "observe/replay_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "observe/svg_plot.h"

namespace steelyard {
namespace {

constexpr std::string_view kStyle = R"(
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1000px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:18px;margin:34px 0 8px}
p{margin:6px 0;color:var(--soft)}code{color:var(--ink)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
td.best{font-weight:700;color:var(--c0)}
.panel{background:var(--panel);border-radius:8px;padding:10px;margin:14px 0}
)";

// Colours stay with a policy whatever stands beside it.
constexpr std::array<std::string_view, 8> kColors = {
    "steelyard", "deepseek", "vllm", "swift", "flashlb", "static", "random", "clairvoyant"};

int ColorOf(std::string_view policy) {
  return static_cast<int>(std::find(kColors.begin(), kColors.end(), policy) - kColors.begin());
}

PlotSeries SeriesOf(const PolicyReplay& replay) {
  PlotSeries series;
  series.name = replay.policy;
  series.color = ColorOf(replay.policy);
  series.strong = replay.policy == "steelyard";
  series.dashed = replay.policy == kClairvoyant;
  return series;
}

bool IsBaseline(const PolicyReplay& replay) {
  return replay.policy == "static" || replay.policy == "random";
}

Plot ImbalancePlot(const ReplayReport& report, bool with_baselines) {
  Plot plot{"Imbalance on the window after each plan",
            {.label = "window that was scored (number)", .whole = true},
            {.label = "imbalance (max / mean rank load)"},
            {}};
  if (!with_baselines) plot.title += ", without static and random";
  for (const PolicyReplay& replay : report.policies) {
    if (!with_baselines && IsBaseline(replay)) continue;
    plot.series.push_back(SeriesOf(replay));
    for (size_t t = 0; t < replay.cycles.size(); ++t) {
      plot.series.back().points.push_back(
          {static_cast<double>(t + 1), replay.cycles[t].imbalance_next});
    }
  }
  return plot;
}

Plot MovesPlot(const ReplayReport& report) {
  Plot plot{"Moves of each plan",
            {.label = "window after which it was made (number)", .whole = true},
            {.label = "moves (experts copied, log scale)",
             .scale = AxisScale::kMagnitude,
             .from_zero = true},
            {}};
  for (const PolicyReplay& replay : report.policies) {
    plot.series.push_back(SeriesOf(replay));
    for (size_t t = 0; t < replay.cycles.size(); ++t) {
      plot.series.back().points.push_back(
          {static_cast<double>(t), static_cast<double>(replay.cycles[t].moves)});
    }
  }
  return plot;
}

Plot FrontierPlot(const ReplayReport& report) {
  Plot plot{"Imbalance against moves, lower left is better",
            {.label = "moves per cycle after the first (experts copied, log scale)",
             .scale = AxisScale::kMagnitude,
             .from_zero = true},
            {.label = "imbalance on the next window (mean)"},
            {}};
  for (const PolicyReplay& replay : report.policies) {
    if (replay.policy == "steelyard" && !report.frontier.empty()) continue;
    plot.series.push_back(SeriesOf(replay));
    plot.series.back().points.push_back({replay.moves_per_cycle, replay.imbalance_next});
  }
  if (!report.frontier.empty()) {
    PlotSeries line{.name = "steelyard, by price", .color = ColorOf("steelyard"), .strong = true};
    for (const FrontierPoint& point : report.frontier) {
      line.points.push_back(
          {point.moves_per_cycle, point.imbalance_next, fmt::format("{}", point.price)});
    }
    std::sort(line.points.begin(), line.points.end(), [](const PlotPoint& a, const PlotPoint& b) {
      return a.x != b.x ? a.x < b.x : a.y < b.y;
    });
    plot.series.push_back(std::move(line));
  }
  return plot;
}

// `best_column` is marked where it is smallest; none when it is below 0.
std::string HtmlTable(const ReportTable& table, int best_column) {
  double best = std::numeric_limits<double>::infinity();
  for (const std::vector<std::string>& row : table.rows) {
    if (best_column >= 0 && row[0] != kClairvoyant) {
      best = std::min(best, std::stod(row[best_column]));
    }
  }
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& cell : table.header) out += "<th>" + EscapeMarkup(cell) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      const bool marked =
          static_cast<int>(i) == best_column && std::stod(row[i]) <= best && row[0] != kClairvoyant;
      out += fmt::format("<td{}>{}</td>", marked ? " class=\"best\"" : "", EscapeMarkup(row[i]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string Panel(const Plot& plot) { return "<div class=\"panel\">" + SvgPlot(plot) + "</div>\n"; }

std::string CostSection(const ReplayReport& report) {
  const CostModel& model = *report.cost_model;
  const double steps = report.costs.empty() ? 0.0 : report.costs[0].steps_per_window;
  return "<h2>Does balancing pay?</h2>\n" +
         fmt::format(
             "<p>Against the placement at the start, kept for ever: {:.1f} steps a window of {} "
             "tokens, each with {} ms of MoE at the start; {} bytes an expert over {} Gbit/s into "
             "the rank that receives most, as if no transfer were hidden. Break even: the "
             "steps that a window needs for later plans to pay by themselves.</p>\n",
             steps, model.tokens_per_step, model.step_ms, model.expert_bytes, model.link_gbps) +
         HtmlTable(CostTable(report), -1);
}

}  // namespace

std::string ReplayPage(const ReplayReport& report) {
  const ReplaySetup& setup = report.setup;
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<title>Steelyard replay</title>\n<style>{}{}</style></head><body><main>\n",
      PlotStyle(), kStyle);
  page += fmt::format(
      "<h1>Steelyard replay</h1>\n<p><code>{}</code>: {}, on {}; price {}{}.</p>\n",
      EscapeMarkup(setup.trace), DescribeTrace(setup), setup.topology.ToString(), setup.price,
      setup.gated ? ", gated: layers whose change the policy does not want are left alone" : "");
  page += "<h2>Policies</h2>\n" + HtmlTable(PolicyTable(report), 2);
  page +=
      "<p>Imbalance is largest by mean rank load, bin by bin and layer by layer: on the window "
      "planned on, on the next (mean and 95th percentile). Moves after the first plan, which "
      "starts "
      "from a contiguous placement; the median time of a plan after the first; the most duplicates "
      "that a placement had.</p>\n";
  const auto baselines = std::count_if(report.policies.begin(), report.policies.end(), IsBaseline);
  if (baselines > 0 && static_cast<size_t>(baselines) < report.policies.size()) {
    page += Panel(ImbalancePlot(report, false));
  }
  page += Panel(ImbalancePlot(report, true));
  page += Panel(MovesPlot(report));
  page += "<h2>Frontier</h2>\n" + Panel(FrontierPlot(report));
  if (!report.frontier.empty()) page += HtmlTable(FrontierTable(report), -1);
  if (report.cost_model.has_value()) page += CostSection(report);
  return page + "</main></body></html>\n";
}

}  // namespace steelyard
