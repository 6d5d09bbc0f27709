// What a replay came to, for programs and for a terminal (docs/replay.md); replay_page.h has it for
// a browser.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "sim/cost_model.h"
#include "sim/frontier.h"
#include "sim/replay.h"

namespace steelyard {

/// What was replayed, in words that a report repeats.
struct ReplaySetup {
  std::string trace;  // its file
  LoadShape shape;    // of the trace
  int bins_per_window = 1;
  Topology topology;
  double price = 0.0;
  bool gated = false;
  int64_t expert_bytes = 0;  // 0 where not known
};

struct ReplayReport {
  ReplaySetup setup;
  std::vector<PolicyReplay> policies;
  std::vector<FrontierPoint> frontier;  // empty where one price was given
  std::optional<CostModel> cost_model;
  std::vector<PolicyCost> costs;  // of each policy, where there is a cost model
};

/// {"policies", "setup", "windows", "frontier"?, "cost"?}. Numbers that are infinite become null.
OrderedJson ReplayJson(const ReplayReport& report);

/// Tables of policies, and of what else the report has.
std::string ReplayText(const ReplayReport& report);

/// A table of words: of policies, of costs, of the frontier. Texts and pages show the same.
struct ReportTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
ReportTable PolicyTable(const ReplayReport& report);
ReportTable CostTable(const ReplayReport& report);
ReportTable FrontierTable(const ReplayReport& report);

/// For example "32 bins x 1 phase x 26 layers x 64 experts in 8 windows of 4 bins".
std::string DescribeTrace(const ReplaySetup& setup);

}  // namespace steelyard
