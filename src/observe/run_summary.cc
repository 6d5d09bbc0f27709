#include "observe/run_summary.h"

#include <fmt/format.h>

namespace steelyard {
namespace {

double Milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

OrderedJson OrNull(const auto& value) {
  return value.has_value() ? OrderedJson(*value) : OrderedJson(nullptr);
}

}  // namespace

std::optional<double> MeanImbalanceFrom(const BalancerMetrics& metrics, int64_t first) {
  double weighted = 0.0;
  double tokens = 0.0;
  for (size_t i = static_cast<size_t>(std::max<int64_t>(first, 0)); i < metrics.windows.size();
       ++i) {
    weighted += metrics.windows[i].imbalance * metrics.windows[i].tokens;
    tokens += metrics.windows[i].tokens;
  }
  return tokens > 0.0 ? std::optional<double>(weighted / tokens) : std::nullopt;
}

ImbalanceSummary SummariseImbalance(const BalancerMetrics& metrics) {
  ImbalanceSummary summary;
  for (const WindowStats& window : metrics.windows) {
    summary.windows.push_back(window.imbalance);
  }
  if (summary.windows.empty()) {
    return summary;
  }
  summary.first = summary.windows.front();
  summary.last = summary.windows.back();
  summary.mean = MeanImbalanceFrom(metrics, 0).value_or(1.0);
  const int64_t first = metrics.first_window_after_commit;
  if (first >= 0 && first < static_cast<int64_t>(summary.windows.size())) {
    summary.first_window_after_commit = first;
    summary.mean_after_commit = MeanImbalanceFrom(metrics, first);
  }
  return summary;
}

OrderedJson RunSummary::ToJson() const {
  const BalancerMetrics& balancing = report.balance;
  const ImbalanceSummary imbalance = SummariseImbalance(balancing);
  OrderedJson json;
  json["model"] = model;
  json["ranks"] = num_ranks;
  json["slots"] = report.slots_per_rank;
  json["balance"] = balance;
  json["requests"] = num_requests;
  json["prompt_tokens"] = report.prompt_tokens;
  json["new_tokens"] = report.new_tokens;
  json["seconds"] = report.seconds;
  json["tokens_per_second"] = report.tokens_per_second();
  json["steps"] = report.steps;
  json["step_ms"] = {{"p50", report.step_times.p50_ms},
                     {"p99", report.step_times.p99_ms},
                     {"max", report.step_times.max_ms}};
  json["imbalance"] = {{"first", imbalance.first},
                       {"last", imbalance.last},
                       {"mean", imbalance.mean},
                       {"mean_after_commit", OrNull(imbalance.mean_after_commit)},
                       {"windows", imbalance.windows},
                       {"first_window_after_commit", OrNull(imbalance.first_window_after_commit)}};
  // At the top level too: the design's words leave open which of the two places is meant.
  json["windows"] = imbalance.windows;
  json["first_window_after_commit"] = OrNull(imbalance.first_window_after_commit);
  json["cycles"] = {{"started", balancing.cycles_started},
                    {"committed", balancing.cycles_committed},
                    {"kept", balancing.cycles_kept},
                    {"abandoned", balancing.cycles_abandoned}};
  json["moves"] = balancing.moves;
  json["bytes_moved"] = balancing.bytes_moved;
  json["stall_ms"] = {{"total", Milliseconds(balancing.stall_total)},
                      {"max", Milliseconds(balancing.stall_max)}};
  return json;
}

std::string RunSummary::ToText() const {
  const BalancerMetrics& balancing = report.balance;
  const ImbalanceSummary imbalance = SummariseImbalance(balancing);
  std::string text = fmt::format(
      "{} requests, {} prompt and {} new tokens in {:.2f} s: {:.0f} tokens/s, {} steps of {:.2f} "
      "ms (p50), {:.2f} ms (p99)\n",
      num_requests, report.prompt_tokens, report.new_tokens, report.seconds,
      report.tokens_per_second(), report.steps, report.step_times.p50_ms, report.step_times.p99_ms);
  text += fmt::format(
      "{} ranks x {} slots, balance {}: imbalance {:.3f} first, {:.3f} last, {:.3f} mean over {} "
      "windows\n",
      num_ranks, report.slots_per_rank, balance, imbalance.first, imbalance.last, imbalance.mean,
      imbalance.windows.size());
  text += fmt::format(
      "cycles: {} started, {} committed, {} kept, {} abandoned; {} moves, {:.1f} MB; stall {:.3f} "
      "ms\n",
      balancing.cycles_started, balancing.cycles_committed, balancing.cycles_kept,
      balancing.cycles_abandoned, balancing.moves, static_cast<double>(balancing.bytes_moved) / 1e6,
      Milliseconds(balancing.stall_total));
  return text;
}

std::string ResultLine(const RequestResult& result) {
  OrderedJson json;
  json["id"] = result.id;
  json["input_ids"] = result.input_ids;
  json["new_tokens"] = result.new_tokens;
  json["text"] = result.text;
  json["finish_reason"] = FinishReasonName(result.finish_reason);
  return json.dump() + "\n";
}

}  // namespace steelyard
