#include "observe/replay_report.h"

#include <fmt/format.h>

#include <cmath>

#include "observe/picture.h"

namespace steelyard {
namespace {

OrderedJson ToJson(const PolicyReplay& replay, int64_t expert_bytes) {
  OrderedJson json = {{"policy", replay.policy},
                      {"imbalance_plan", replay.imbalance_plan},
                      {"imbalance_next", replay.imbalance_next},
                      {"imbalance_next_p95", replay.imbalance_next_p95},
                      {"first_moves", replay.first_moves},
                      {"moves", replay.moves},
                      {"moves_per_cycle", replay.moves_per_cycle},
                      {"plan_ms", replay.plan_ms},
                      {"duplicates", replay.duplicates}};
  if (expert_bytes > 0) {
    json["first_bytes"] = replay.first_moves * expert_bytes;
    json["bytes"] = replay.moves * expert_bytes;
  }
  return json;
}

OrderedJson ToJson(const ReplaySetup& setup) {
  return {{"trace", setup.trace},
          {"num_bins", setup.shape.num_bins},
          {"num_phases", setup.shape.num_phases},
          {"num_layers", setup.shape.num_layers},
          {"num_experts", setup.shape.num_experts},
          {"bins_per_window", setup.bins_per_window},
          {"num_windows", setup.shape.num_bins / setup.bins_per_window},
          {"num_ranks", setup.topology.num_ranks()},
          {"slots_per_rank", setup.topology.slots_per_rank()},
          {"num_nodes", setup.topology.num_nodes()},
          {"price", setup.price},
          {"gated", setup.gated}};
}

// One array for each figure: entry t is of the plan made after window t.
OrderedJson WindowsJson(const PolicyReplay& replay) {
  OrderedJson json = {
      {"imbalance_plan", OrderedJson::array()}, {"imbalance_next", OrderedJson::array()},
      {"moves", OrderedJson::array()},          {"busiest_rank_moves", OrderedJson::array()},
      {"plan_ms", OrderedJson::array()},        {"duplicates", OrderedJson::array()}};
  for (const ReplayCycle& cycle : replay.cycles) {
    json["imbalance_plan"].push_back(cycle.imbalance_plan);
    json["imbalance_next"].push_back(cycle.imbalance_next);
    json["moves"].push_back(cycle.moves);
    json["busiest_rank_moves"].push_back(cycle.busiest_rank_moves);
    json["plan_ms"].push_back(cycle.plan_ms);
    json["duplicates"].push_back(cycle.duplicates);
  }
  return json;
}

OrderedJson ToJson(const FrontierPoint& point) {
  return {{"price", point.price},
          {"imbalance_next", point.imbalance_next},
          {"imbalance_next_p95", point.imbalance_next_p95},
          {"first_moves", point.first_moves},
          {"moves", point.moves},
          {"moves_per_cycle", point.moves_per_cycle}};
}

OrderedJson CostJson(const ReplayReport& report) {
  const CostModel& model = *report.cost_model;
  OrderedJson json = {{"expert_bytes", model.expert_bytes},
                      {"link_gbps", model.link_gbps},
                      {"step_ms", model.step_ms},
                      {"tokens_per_step", model.tokens_per_step},
                      {"top_k", model.top_k},
                      {"policies", OrderedJson::array()}};
  for (size_t i = 0; i < report.costs.size(); ++i) {
    const PolicyCost& cost = report.costs[i];
    json["policies"].push_back({{"policy", report.policies[i].policy},
                                {"steps_per_window", cost.steps_per_window},
                                {"saved_ms_per_window", cost.saved_ms_per_window},
                                {"spent_ms_per_window", cost.spent_ms_per_window},
                                {"first_spent_ms", cost.first_spent_ms},
                                {"net_ms", cost.net_ms},
                                {"net_percent", cost.net_percent},
                                {"break_even_steps", std::isfinite(cost.break_even_steps)
                                                         ? OrderedJson(cost.break_even_steps)
                                                         : OrderedJson(nullptr)},
                                {"pays", cost.pays}});
  }
  return json;
}

std::string Number(double value, int digits) { return fmt::format("{:.{}f}", value, digits); }

}  // namespace

OrderedJson ReplayJson(const ReplayReport& report) {
  OrderedJson json;
  json["policies"] = OrderedJson::array();
  json["setup"] = ToJson(report.setup);
  json["windows"] = OrderedJson::object();
  for (const PolicyReplay& replay : report.policies) {
    json["policies"].push_back(ToJson(replay, report.setup.expert_bytes));
    json["windows"][replay.policy] = WindowsJson(replay);
  }
  for (const FrontierPoint& point : report.frontier) json["frontier"].push_back(ToJson(point));
  if (report.cost_model.has_value()) json["cost"] = CostJson(report);
  return json;
}

ReportTable PolicyTable(const ReplayReport& report) {
  ReportTable table{{"policy", "plan", "next", "next p95", "first moves", "moves", "moves/cycle",
                     "plan ms", "duplicates"},
                    {}};
  const auto expert_bytes = static_cast<double>(report.setup.expert_bytes);
  if (expert_bytes > 0.0) table.header.emplace_back("MB/cycle");
  for (const PolicyReplay& replay : report.policies) {
    table.rows.push_back({replay.policy, Number(replay.imbalance_plan, 4),
                          Number(replay.imbalance_next, 4), Number(replay.imbalance_next_p95, 4),
                          std::to_string(replay.first_moves), std::to_string(replay.moves),
                          Number(replay.moves_per_cycle, 1), Number(replay.plan_ms, 2),
                          std::to_string(replay.duplicates)});
    if (expert_bytes > 0.0) {
      table.rows.back().push_back(Number(replay.moves_per_cycle * expert_bytes / 1e6, 1));
    }
  }
  return table;
}

ReportTable CostTable(const ReplayReport& report) {
  ReportTable table{{"policy", "saved ms/window", "spent ms/window", "first spent ms", "net ms",
                     "net %", "break even", "pays"},
                    {}};
  for (size_t i = 0; i < report.costs.size(); ++i) {
    const PolicyCost& cost = report.costs[i];
    table.rows.push_back(
        {report.policies[i].policy, Number(cost.saved_ms_per_window, 2),
         Number(cost.spent_ms_per_window, 2), Number(cost.first_spent_ms, 2),
         Number(cost.net_ms, 2), Number(cost.net_percent, 2),
         std::isfinite(cost.break_even_steps) ? Number(cost.break_even_steps, 1) : "-",
         cost.pays ? "yes" : "no"});
  }
  return table;
}

ReportTable FrontierTable(const ReplayReport& report) {
  ReportTable table{{"price", "next", "next p95", "first moves", "moves", "moves/cycle"}, {}};
  for (const FrontierPoint& point : report.frontier) {
    table.rows.push_back({fmt::format("{}", point.price), Number(point.imbalance_next, 4),
                          Number(point.imbalance_next_p95, 4), std::to_string(point.first_moves),
                          std::to_string(point.moves), Number(point.moves_per_cycle, 1)});
  }
  return table;
}

std::string DescribeTrace(const ReplaySetup& setup) {
  const LoadShape& shape = setup.shape;
  return fmt::format("{} bins x {} phase{} x {} layers x {} experts in {} windows of {} bin{}",
                     shape.num_bins, shape.num_phases, shape.num_phases == 1 ? "" : "s",
                     shape.num_layers, shape.num_experts, shape.num_bins / setup.bins_per_window,
                     setup.bins_per_window, setup.bins_per_window == 1 ? "" : "s");
}

std::string ReplayText(const ReplayReport& report) {
  const ReplaySetup& setup = report.setup;
  std::string text =
      fmt::format("{}: {} on {}\n", setup.trace, DescribeTrace(setup), setup.topology.ToString());
  const auto append = [&text](const ReportTable& table) {
    text += TextTable(table.header, table.rows);
  };
  append(PolicyTable(report));
  if (!report.frontier.empty()) {
    text += "\nsteelyard at several prices:\n";
    append(FrontierTable(report));
  }
  if (report.cost_model.has_value()) {
    text += fmt::format(
        "\nagainst the placement at the start, {:.1f} steps a window (break even: steps it "
        "needs):\n",
        report.costs.empty() ? 0.0 : report.costs[0].steps_per_window);
    append(CostTable(report));
  }
  return text;
}

}  // namespace steelyard
