#include "engine/serve/serve.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/serve/rank_worker.h"
#include "steelyard/comm/inproc.h"

namespace steelyard {
namespace {

Status CheckOptions(std::span<const Request> requests, const ServeOptions& options) {
  if (requests.empty()) return InvalidArgument("there is no request to serve");
  const std::pair<const char*, int64_t> counts[] = {{"num_ranks", options.num_ranks},
                                                    {"max_batch_tokens", options.max_batch_tokens},
                                                    {"max_sequences", options.max_sequences},
                                                    {"kv_cache_tokens", options.kv_cache_tokens}};
  for (const auto& count : counts) {
    if (count.second < 1) {
      return InvalidArgument(
          fmt::format("{} must be at least 1, but is {}", count.first, count.second));
    }
  }
  if (options.placement.has_value() && options.balancer.mode == BalanceMode::kOff) {
    return InvalidArgument("a placement cannot be given with balance mode off");
  }
  return options.balancer.Validate();
}

Status CheckPlacement(const Placement& placement, const ModelFiles& model,
                      const ServeOptions& options) {
  const Topology& topology = placement.topology();
  const std::pair<const char*, std::pair<int64_t, int64_t>> facts[] = {
      {"MoE layers", {placement.num_layers(), model.num_moe_layers()}},
      {"experts", {placement.num_experts(), model.config.num_experts}},
      {"ranks", {topology.num_ranks(), options.num_ranks}},
      {"slots on a rank",
       {topology.slots_per_rank(),
        options.slots_per_rank > 0 ? options.slots_per_rank : topology.slots_per_rank()}}};
  for (const auto& fact : facts) {
    if (fact.second.first != fact.second.second) {
      return InvalidArgument(fmt::format("the placement is for {} {}, the run has {}",
                                         fact.second.first, fact.first, fact.second.second));
    }
  }
  const int duplicates = placement.CountDuplicates();
  if (duplicates > 0) {
    return InvalidArgument(
        fmt::format("the placement puts {} experts twice on a rank", duplicates));
  }
  return Status::Ok();
}

Result<Placement> InitialPlacement(const ModelFiles& model, const ServeOptions& options) {
  if (options.placement.has_value()) {
    STEELYARD_RETURN_IF_ERROR(CheckPlacement(*options.placement, model, options));
    return *options.placement;
  }
  const int num_experts = static_cast<int>(model.config.num_experts);
  const int slots = options.slots_per_rank > 0
                        ? options.slots_per_rank
                        : DefaultSlotsPerRank(num_experts, options.num_ranks);
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology, Topology::Create(options.num_ranks, slots));
  return Placement::Contiguous(topology, model.num_moe_layers(), num_experts);
}

int MaxContext(std::span<const Request> requests) {
  int64_t longest = 1;
  for (const Request& request : requests) longest = std::max(longest, NumPositions(request));
  return static_cast<int>(longest);
}

void SetUpResults(const ModelFiles& model, ServeRun* run) {
  run->results.resize(run->requests.size());
  for (size_t i = 0; i < run->requests.size(); ++i) {
    const Request& request = run->requests[i];
    run->total_tokens += static_cast<int64_t>(request.input_ids.size()) + request.max_new_tokens;
    run->results[i].id = request.id;
    run->results[i].input_ids = request.input_ids;
    if (run->options->count_prefill_routing) {
      run->results[i].prefill_routing.resize(size_t(run->num_moe_layers) *
                                             model.config.num_experts);
    }
  }
}

// Starts a thread for each rank. Where one cannot be started, those that were end too.
Status StartRanks(ServeRun& run, std::vector<std::unique_ptr<Communicator>>& ends,
                  std::vector<std::optional<RankOutcome>>& outcomes,
                  std::vector<std::thread>& threads) {
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    try {
      threads.emplace_back([&, rank] { outcomes[rank] = RunRank(run, std::move(ends[rank])); });
    } catch (const std::system_error& error) {
      Status status = FailedPrecondition(fmt::format(
          "the thread of rank {} of {} cannot be started: {}", rank, ends.size(), error.what()));
      ends[rank]->Abort(status);
      return status;
    }
  }
  return Status::Ok();
}

// One thread per rank; the outcome of each, or the status of the rank that failed first.
Result<std::vector<RankOutcome>> RunRanks(ServeRun& run) {
  std::vector<std::unique_ptr<Communicator>> ends = MakeInprocGroup(run.options->num_ranks);
  if (run.options->wrap_communicator) {
    for (auto& end : ends) end = run.options->wrap_communicator(std::move(end));
  }
  std::vector<std::optional<RankOutcome>> outcomes(ends.size());
  std::vector<std::thread> threads;
  const Status started = StartRanks(run, ends, outcomes, threads);
  for (std::thread& thread : threads) thread.join();
  STEELYARD_RETURN_IF_ERROR(started);
  if (!run.first_failure.ok()) return run.first_failure;
  std::vector<RankOutcome> all;
  for (std::optional<RankOutcome>& outcome : outcomes) all.push_back(*std::move(outcome));
  return all;
}

StepTimes Summarize(std::vector<double> step_ms) {
  std::sort(step_ms.begin(), step_ms.end());
  const auto at = [&](double quantile) {
    return step_ms[static_cast<size_t>(quantile * static_cast<double>(step_ms.size() - 1))];
  };
  return {at(0.5), at(0.99), step_ms.back()};
}

ServeReport MakeReport(const ModelFiles& model, ServeRun& run, std::vector<RankOutcome> outcomes) {
  ServeReport report;
  report.results = std::move(run.results);
  for (RequestResult& result : report.results) {
    result.text = model.tokenizer.Decode(result.new_tokens, /*skip_special_tokens=*/true);
    report.prompt_tokens += static_cast<int64_t>(result.input_ids.size());
    report.new_tokens += static_cast<int64_t>(result.new_tokens.size());
  }
  report.slots_per_rank = run.placement->topology().slots_per_rank();
  report.seconds = outcomes[0].seconds;
  report.steps = static_cast<int64_t>(outcomes[0].step_ms.size());
  report.step_times = Summarize(std::move(outcomes[0].step_ms));
  report.balance = std::move(outcomes[0].balance);
  report.placement = std::move(outcomes[0].placement);
  for (size_t rank = 1; rank < outcomes.size(); ++rank) {
    const BalancerMetrics& metrics = outcomes[rank].balance;
    report.balance.stall_total = std::max(report.balance.stall_total, metrics.stall_total);
    report.balance.stall_max = std::max(report.balance.stall_max, metrics.stall_max);
  }
  return report;
}

Result<ServeReport> ServeChecked(const ModelFiles& files, std::span<const Request> requests,
                                 const ServeOptions& options) {
  STEELYARD_RETURN_IF_ERROR(CheckOptions(requests, options));
  STEELYARD_ASSIGN_OR_RETURN(const Placement placement, InitialPlacement(files, options));
  STEELYARD_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      files.family->load(files.checkpoint, files.config, {options.compute, MaxContext(requests)}));
  ServeRun run;
  run.files = &files;
  run.model = model.get();
  run.options = &options;
  run.placement = &placement;
  run.requests = requests;
  run.num_moe_layers = files.num_moe_layers();
  SetUpResults(files, &run);
  STEELYARD_ASSIGN_OR_RETURN(std::vector<RankOutcome> outcomes, RunRanks(run));
  return MakeReport(files, run, std::move(outcomes));
}

}  // namespace

std::string_view FinishReasonName(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

int DefaultSlotsPerRank(int num_experts, int num_ranks) {
  return std::min(num_experts, (num_experts + num_ranks - 1) / num_ranks + 1);
}

Result<ServeReport> Serve(const ModelFiles& model, std::span<const Request> requests,
                          const ServeOptions& options) {
  try {
    return ServeChecked(model, requests, options);
  } catch (const std::exception& error) {
    return Internal(fmt::format("{}: {}", model.folder.string(), error.what()));
  }
}

}  // namespace steelyard
