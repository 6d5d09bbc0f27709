// What a run comes to, as the command prints it: the summary object of docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/serve/serve.h"

namespace steelyard {

struct ImbalanceSummary {
  double first = 1.0;
  double last = 1.0;
  double mean = 1.0;                        // over windows, weighted by their tokens
  std::optional<double> mean_after_commit;  // over those that began after the first committed cycle
  std::vector<double> windows;
  std::optional<int64_t> first_window_after_commit;
};

ImbalanceSummary SummariseImbalance(const BalancerMetrics& metrics);

/// Mean imbalance of the windows from index `first` on, weighted by their tokens; nothing when
/// there is none.
std::optional<double> MeanImbalanceFrom(const BalancerMetrics& metrics, int64_t first);

struct RunSummary {
  std::string model;
  int num_ranks = 0;
  std::string balance;
  int64_t num_requests = 0;
  ServeReport report;  // without its results

  /// The summary object, keys in the order of docs/formats.md.
  OrderedJson ToJson() const;
  /// A few lines for a person.
  std::string ToText() const;
};

/// One line of a result file: {"id","input_ids","new_tokens","text","finish_reason"}.
std::string ResultLine(const RequestResult& result);

}  // namespace steelyard
