#include "balance/planning.h"

#include <fmt/format.h>

#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// How long a worker may hold up whoever destroys this.
constexpr Duration kFarewell = std::chrono::milliseconds(200);
// The part of a cycle's time that a worker which was told to end may use up of the next cycle's.
constexpr int kPartingFraction = 4;

}  // namespace

Planning::~Planning() {
  if (worker_ != nullptr) {
    worker_->Stop(kFarewell);
  }
}

Status Planning::Start(const Placement& initial) {
  if (!make_policy_) {
    return InvalidArgument(
        fmt::format("balance mode {} needs a policy", BalanceModeName(options_.mode)));
  }
  STEELYARD_ASSIGN_OR_RETURN(worker_, MakeWorker(initial));
  return Status::Ok();
}

Result<std::unique_ptr<PlanWorker>> Planning::MakeWorker(const Placement& current) const {
  STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, make_policy_());
  const LoadShape shape{options_.bins_per_window, kNumPhases, current.num_layers(),
                        current.num_experts()};
  STEELYARD_RETURN_IF_ERROR(PreparePolicy(*policy, current, shape, options_.history_windows));
  return PlanWorker::Start(std::move(policy));
}

void Planning::AddWindow(int64_t window_idx, std::shared_ptr<const LoadWindow> loads) {
  history_.push_back({window_idx, std::move(loads)});
  if (history_.size() > static_cast<size_t>(options_.history_windows)) {
    history_.pop_front();
  }
}

void Planning::ForgetWindowsUpTo(int64_t window_idx) {
  while (!history_.empty() && history_.front().window_idx <= window_idx) {
    history_.pop_front();
  }
}

void Planning::Submit(const Placement& current) {
  STEELYARD_CHECK(!waiting_.has_value());
  if (stopped() || !worker_->idle()) {
    waiting_.emplace(MakeJob(current));
    return;
  }
  parting_.reset();
  worker_->Submit(MakeJob(current));
}

std::optional<Result<PlanOutcome>> Planning::Poll() {
  if (waiting_.has_value()) {
    if (!stopped() && !worker_->idle() && !parting_->Expired()) {
      return std::nullopt;
    }
    const Status ready = ReplaceWorker();
    if (!ready.ok()) {
      waiting_.reset();
      return Result<PlanOutcome>(ready);
    }
    parting_.reset();
    worker_->Submit(*std::move(waiting_));
    waiting_.reset();
  }
  if (!worker_->done()) {
    return std::nullopt;
  }
  return worker_->Take();
}

Status Planning::ReplaceWorker() {
  if (!stopped() && worker_->idle()) {
    return Status::Ok();
  }
  if (workers_abandoned_ + 1 < kMaxWorkersAbandoned) {
    STEELYARD_ASSIGN_OR_RETURN(worker_, MakeWorker(waiting_->current));
    ++workers_abandoned_;
    return Status::Ok();
  }
  workers_abandoned_ = kMaxWorkersAbandoned;
  return FailedPrecondition(
      fmt::format("{} planning workers did not end when they were told to", workers_abandoned_));
}

void Planning::Wait(Duration at_most) const { worker_->WaitForChange(at_most); }

void Planning::Cancel() {
  waiting_.reset();
  if (worker_ == nullptr) {
    return;
  }
  worker_->Cancel();
  if (!worker_->idle() && !parting_.has_value()) {
    parting_ = Deadline::After(options_.cycle_deadline / kPartingFraction, *clock_);
  }
}

PlanJob Planning::MakeJob(const Placement& current) const {
  PlanJob job{current, {}, options_.plan, state_, options_.staging_buffers};
  for (const Window& window : history_) {
    job.history.push_back(window.loads);
  }
  return job;
}

}  // namespace steelyard
