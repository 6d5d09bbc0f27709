#include "engine/serve/rank_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "engine/compute/ops.h"
#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

double Millis(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

/// Adds the experts of prompt tokens to the results of their requests.
class PrefillRoutingCounter final : public RoutingSink {
 public:
  PrefillRoutingCounter(int num_experts, int top_k) : num_experts_(num_experts), top_k_(top_k) {}

  void BeginStep(const StepPlan& plan, std::vector<RequestResult*> results_of_runs) {
    plan_ = &plan;
    results_ = std::move(results_of_runs);
  }

  void Routed(int layer, std::span<const int32_t> experts) override {
    for (size_t i = 0; i < plan_->runs.size(); ++i) {
      const SequenceRun& run = plan_->runs[i];
      if (run.phase != Phase::kPrefill) continue;
      uint32_t* counts = results_[i]->prefill_routing.data() + size_t(layer) * num_experts_;
      for (const int32_t expert :
           experts.subspan(size_t(run.first_row) * top_k_, size_t(run.num_rows) * top_k_)) {
        ++counts[expert];
      }
    }
  }

 private:
  const int num_experts_;
  const int top_k_;
  const StepPlan* plan_ = nullptr;
  std::vector<RequestResult*> results_;  // of the plan's runs
};

class RankWorker {
 public:
  RankWorker(ServeRun& run, Communicator& comm)
      : run_(run),
        options_(*run.options),
        comm_(comm),
        scheduler_(OwnRequests(), run.files->config.eos_token_ids, Limits()),
        routing_(static_cast<int>(run.files->config.num_experts),
                 static_cast<int>(run.files->config.num_experts_per_tok)) {}

  Status Load(std::unique_ptr<RankModel>* model);
  Result<RankOutcome> Run(RankModel& model);

 private:
  std::vector<const Request*> OwnRequests() const;
  SchedulerLimits Limits() const;
  size_t GlobalIndex(int request_idx) const {
    return static_cast<size_t>(request_idx) * comm_.num_ranks() + comm_.rank();
  }
  Status Meet(Duration timeout);
  Result<std::unique_ptr<Balancer>> MakeBalancer(RankModel& model) const;
  Result<bool> Step(RankModel& model, Balancer& balancer);
  Status TakeTokens(RankModel& model, const StepPlan& plan);
  Status TakeToken(const StepPlan& plan, int run_idx, std::span<const float> logits);
  void CountProgress(const StepPlan& plan);
  void ReportProgress(const Balancer& balancer);

  ServeRun& run_;
  const ServeOptions& options_;
  Communicator& comm_;
  Scheduler scheduler_;
  PrefillRoutingCounter routing_;
  RankOutcome outcome_;
};

std::vector<const Request*> RankWorker::OwnRequests() const {
  std::vector<const Request*> own;
  for (size_t i = comm_.rank(); i < run_.requests.size(); i += comm_.num_ranks()) {
    own.push_back(&run_.requests[i]);
  }
  return own;
}

SchedulerLimits RankWorker::Limits() const {
  int64_t largest = 1;
  int64_t total = 1;
  for (const Request* request : OwnRequests()) {
    const int64_t num_blocks = NumKvBlocks(NumPositions(*request));
    largest = std::max(largest, num_blocks);
    total += num_blocks;
  }
  const int64_t wanted = std::min<int64_t>(total, NumKvBlocks(options_.kv_cache_tokens));
  return {options_.max_batch_tokens, options_.max_sequences,
          static_cast<int>(std::max(wanted, largest))};
}

Status RankWorker::Load(std::unique_ptr<RankModel>* model) {
  RankOptions rank;
  rank.comm = &comm_;
  rank.placement = run_.placement;
  rank.num_spare_buffers = options_.balancer.staging_buffers;
  rank.max_rows = options_.max_batch_tokens;
  rank.num_kv_blocks = Limits().num_kv_blocks;
  rank.exchange_timeout = options_.exchange_timeout;
  STEELYARD_ASSIGN_OR_RETURN(*model, run_.model->MakeRank(rank));
  return Status::Ok();
}

Result<std::unique_ptr<Balancer>> RankWorker::MakeBalancer(RankModel& model) const {
  BalancerHost host;
  host.comm = &comm_;
  host.store = &model.experts();
  host.make_policy = [name = options_.policy] { return MakePolicy(name); };
  if (comm_.rank() == 0) host.on_loads = options_.on_loads;
  return Balancer::Create(options_.balancer, host, *run_.placement);
}

// An exchange of nothing: all ranks have come this far.
Status RankWorker::Meet(Duration timeout) {
  const std::vector<size_t> none(comm_.num_ranks(), 0);
  std::vector<size_t> received(comm_.num_ranks());
  return comm_.Exchange({{}, none, {}, received}, Deadline::After(timeout));
}

Result<RankOutcome> RankWorker::Run(RankModel& model) {
  STEELYARD_ASSIGN_OR_RETURN(const std::unique_ptr<Balancer> balancer, MakeBalancer(model));
  STEELYARD_RETURN_IF_ERROR(Meet(options_.load_timeout).WithContext("waiting for all to load"));
  const Clock& clock = Clock::System();
  const TimePoint start = clock.Now();
  TimePoint step_start = start;
  bool more = true;
  while (more) {
    STEELYARD_ASSIGN_OR_RETURN(more, Step(model, *balancer));
    const TimePoint now = clock.Now();
    outcome_.step_ms.push_back(Millis(now - step_start));
    outcome_.seconds = Millis(now - start) / 1000;
    step_start = now;
    ReportProgress(*balancer);
  }
  STEELYARD_RETURN_IF_ERROR(balancer->Finish());
  // Nobody reads what this rank has sent any more once all have met.
  STEELYARD_RETURN_IF_ERROR(Meet(options_.exchange_timeout).WithContext("after the last step"));
  ReportProgress(*balancer);  // what the others did in their last step counts now
  outcome_.balance = balancer->metrics();
  outcome_.placement = balancer->placement();
  return std::move(outcome_);
}

Result<bool> RankWorker::Step(RankModel& model, Balancer& balancer) {
  if (options_.cancel != nullptr && options_.cancel->cancelled()) {
    return Cancelled(fmt::format("the run was stopped in step {}", balancer.step()));
  }
  const StepPlan& plan = scheduler_.Plan();
  StepBatch batch{plan.tokens, plan.runs, plan.more_work, nullptr};
  if (options_.count_prefill_routing) {
    std::vector<RequestResult*> results;
    for (const int request_idx : plan.requests) {
      results.push_back(&run_.results[GlobalIndex(request_idx)]);
    }
    routing_.BeginStep(plan, std::move(results));
    batch.routing = &routing_;
  }
  balancer.BeginStep();
  STEELYARD_ASSIGN_OR_RETURN(const bool more, model.Forward(batch, balancer));
  STEELYARD_RETURN_IF_ERROR(TakeTokens(model, plan));
  STEELYARD_RETURN_IF_ERROR(balancer.EndStep());
  CountProgress(plan);
  return more;
}

Status RankWorker::TakeTokens(RankModel& model, const StepPlan& plan) {
  std::array<int, RankModel::kMaxLogitRows> runs;  // whose logits come in one piece
  int first = 0;
  int count = 0;
  for (size_t i = 0; i <= plan.runs.size(); ++i) {
    const bool at_end = i == plan.runs.size();
    if (!at_end && plan.runs[i].wants_logits) runs[count++] = static_cast<int>(i);
    if (count == 0 || (!at_end && count < RankModel::kMaxLogitRows)) continue;
    const std::span<const float> logits = model.Logits(first, count);
    const size_t vocab = logits.size() / count;
    for (int k = 0; k < count; ++k) {
      STEELYARD_RETURN_IF_ERROR(TakeToken(plan, runs[k], logits.subspan(k * vocab, vocab)));
    }
    first += count;
    count = 0;
  }
  return Status::Ok();
}

Status RankWorker::TakeToken(const StepPlan& plan, int run_idx, std::span<const float> logits) {
  const int request_idx = plan.requests[run_idx];
  const Request& request = run_.requests[GlobalIndex(request_idx)];
  if (plan.runs[run_idx].phase == Phase::kPrefill && options_.on_logits) {
    const std::lock_guard<std::mutex> lock(run_.logits_mutex);
    STEELYARD_RETURN_IF_ERROR(options_.on_logits(request, logits));
  }
  if (!scheduler_.Accept(run_idx, ArgMax(logits))) return Status::Ok();
  RequestResult& result = run_.results[GlobalIndex(request_idx)];
  result.new_tokens = scheduler_.new_tokens(request_idx);
  result.finish_reason = scheduler_.finish_reason(request_idx);
  run_.done_tokens += request.max_new_tokens - static_cast<int64_t>(result.new_tokens.size());
  return Status::Ok();
}

void RankWorker::CountProgress(const StepPlan& plan) {
  int64_t done = 0;
  for (const SequenceRun& run : plan.runs) {
    if (run.phase == Phase::kPrefill) done += run.num_rows;
    if (run.wants_logits) ++done;
  }
  run_.done_tokens += done;
}

void RankWorker::ReportProgress(const Balancer& balancer) {
  if (comm_.rank() != 0 || !options_.on_progress) return;
  ServeProgress progress;
  progress.done_tokens = run_.done_tokens;
  progress.total_tokens = run_.total_tokens;
  progress.steps = static_cast<int64_t>(outcome_.step_ms.size());
  const std::vector<WindowStats>& windows = balancer.metrics().windows;
  if (!windows.empty()) progress.imbalance = windows.back().imbalance;
  options_.on_progress(progress);
}

// Whatever is thrown (out of memory, most likely) ends the run as any failure does.
template <typename Body>
Status Guarded(const Body& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return Internal(error.what());
  } catch (...) {
    return Internal("something was thrown that is no std::exception");
  }
}

}  // namespace

std::optional<RankOutcome> RunRank(ServeRun& run, std::unique_ptr<Communicator> comm) {
  std::unique_ptr<RankModel> model;  // peers may read its memory until this rank's end is gone
  std::optional<RankOutcome> outcome;
  const Status status = Guarded([&]() -> Status {
    RankWorker worker(run, *comm);
    STEELYARD_RETURN_IF_ERROR(worker.Load(&model));
    STEELYARD_ASSIGN_OR_RETURN(outcome, worker.Run(*model));
    return Status::Ok();
  });
  if (!status.ok()) {
    {
      const std::lock_guard<std::mutex> lock(run.failure_mutex);
      // Ranks that end because the group is broken say so with kUnavailable, and may be here before
      // the one that broke it.
      if (run.first_failure.ok() || (run.first_failure.code() == StatusCode::kUnavailable &&
                                     status.code() != StatusCode::kUnavailable)) {
        run.first_failure = status;
      }
    }
    comm->Abort(status);
  }
  comm.reset();
  return outcome;
}

}  // namespace steelyard
