#include "balance/planning.h"

#include <fmt/format.h>

#include <utility>

namespace steelyard {

Status Planning::Start(const Placement& initial) {
  if (options_.mode != BalanceMode::kSync && options_.mode != BalanceMode::kAsync) {
    return Status::Ok();
  }
  if (!make_policy_) {
    return InvalidArgument(
        fmt::format("balance mode {} needs a policy", BalanceModeName(options_.mode)));
  }
  STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, make_policy_());
  const LoadShape shape{options_.bins_per_window, kNumPhases, initial.num_layers(),
                        initial.num_experts()};
  STEELYARD_RETURN_IF_ERROR(policy->Prepare(initial, shape, options_.history_windows, 1));
  if (options_.mode == BalanceMode::kSync) {
    policy_ = std::move(policy);
  } else {
    worker_ = std::make_unique<PlanWorker>(std::move(policy));
  }
  return Status::Ok();
}

void Planning::AddWindow(std::shared_ptr<const LoadWindow> window) {
  history_.push_back(std::move(window));
  if (history_.size() > static_cast<size_t>(options_.history_windows)) {
    history_.pop_front();
  }
}

Status Planning::Submit(const Placement& current) {
  if (!stopped() && !worker_->idle()) {
    ++workers_abandoned_;
    if (!stopped()) {
      STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy, make_policy_());
      worker_ = std::make_unique<PlanWorker>(std::move(policy));
    }
  }
  if (stopped()) {
    return FailedPrecondition(
        fmt::format("{} planning workers did not end when they were told to", workers_abandoned_));
  }
  worker_->Submit(MakeJob(current));
  return Status::Ok();
}

void Planning::Cancel() {
  if (worker_ != nullptr) {
    worker_->Cancel();
  }
}

PlanJob Planning::MakeJob(const Placement& current) const {
  PlanJob job{
      current, {history_.begin(), history_.end()}, options_.plan, state_, options_.staging_buffers};
  return job;
}

}  // namespace steelyard
