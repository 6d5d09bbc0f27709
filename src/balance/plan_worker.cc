#include "balance/plan_worker.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "plan/duplicates.h"
#include "steelyard/base/check.h"
#include "steelyard/base/executor.h"

namespace steelyard {
namespace {

// How long a worker that was told to stop may hold up whoever destroys it.
constexpr auto kPartingTime = std::chrono::milliseconds(200);

std::vector<double> SummedLoads(const LoadWindow& window) {
  const LoadShape& shape = window.shape();
  std::vector<double> loads(size_t{1} * shape.num_layers * shape.num_experts, 0.0);
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    window.AddLayerTo(layer, std::span<double>(loads).subspan(size_t{1} * layer * shape.num_experts,
                                                              shape.num_experts));
  }
  return loads;
}

Result<PlanOutcome> PlanOnce(Policy& policy, const PlanJob& job, const CancelFlag* cancel) {
  std::vector<LoadWindow> history;
  for (const std::shared_ptr<const LoadWindow>& window : job.history) {
    history.push_back(*window);
  }
  PolicyState state = job.state;
  PlanContext context;
  context.cancel = cancel;
  STEELYARD_ASSIGN_OR_RETURN(Plan plan,
                             policy.MakePlan({&job.current, history, job.options}, state, context));
  Placement target = std::move(plan.placement);
  int64_t duplicates_replaced = 0;
  if (plan.duplicates > 0) {
    STEELYARD_ASSIGN_OR_RETURN(WithoutDuplicates live,
                               ReplaceDuplicates(target, SummedLoads(history.back())));
    target = std::move(live.placement);
    duplicates_replaced = live.num_replaced;
  }
  Migration migration = PlanMigration(job.current, target, history.back(), job.staging_buffers);
  return PlanOutcome{std::move(target), std::move(migration), std::move(state), plan.digest,
                     duplicates_replaced};
}

}  // namespace

Result<PlanOutcome> MakePlanOutcome(Policy& policy, const PlanJob& job, const CancelFlag* cancel) {
  try {
    return PlanOnce(policy, job, cancel);
  } catch (const std::exception& error) {
    return Internal(fmt::format("policy {} threw: {}", policy.name(), error.what()));
  } catch (...) {
    return Internal(
        fmt::format("policy {} threw something that is no std::exception", policy.name()));
  }
}

struct PlanWorker::Shared {
  std::unique_ptr<Policy> policy;
  CancelFlag cancel;
  std::atomic<bool> done{false};  // set after `outcome`, read without the lock

  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  bool gone = false;
  bool busy = false;  // a job was submitted and its outcome has not been taken or thrown away
  bool unwanted = false;
  std::optional<PlanJob> job;
  std::optional<Result<PlanOutcome>> outcome;
};

PlanWorker::PlanWorker(std::unique_ptr<Policy> policy) : shared_(std::make_shared<Shared>()) {
  shared_->policy = std::move(policy);
  std::thread([shared = shared_] { Run(shared); }).detach();
}

PlanWorker::~PlanWorker() {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->stop = true;
  shared_->cancel.Cancel();
  shared_->changed.notify_all();
  shared_->changed.wait_for(lock, kPartingTime, [this] { return shared_->gone; });
}

void PlanWorker::Submit(PlanJob job) {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  STEELYARD_CHECK(!shared_->busy);
  shared_->busy = true;
  shared_->unwanted = false;
  shared_->cancel.Reset();
  shared_->job = std::move(job);
  shared_->changed.notify_all();
}

bool PlanWorker::done() const { return shared_->done.load(std::memory_order_acquire); }

bool PlanWorker::idle() const {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  return !shared_->busy;
}

Result<PlanOutcome> PlanWorker::Take() {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  STEELYARD_CHECK(shared_->outcome.has_value());
  Result<PlanOutcome> outcome = *std::move(shared_->outcome);
  shared_->outcome.reset();
  shared_->busy = false;
  shared_->done.store(false, std::memory_order_release);
  return outcome;
}

void PlanWorker::Cancel() {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  if (!shared_->busy) {
    return;
  }
  shared_->cancel.Cancel();
  shared_->unwanted = true;
  if (shared_->outcome.has_value()) {
    shared_->outcome.reset();
    shared_->busy = false;
    shared_->done.store(false, std::memory_order_release);
  }
}

void PlanWorker::Run(const std::shared_ptr<Shared>& shared) {
  std::unique_lock<std::mutex> lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&] { return shared->stop || shared->job.has_value(); });
    if (shared->stop) {
      break;
    }
    const PlanJob job = *std::move(shared->job);
    shared->job.reset();
    lock.unlock();
    Result<PlanOutcome> outcome = MakePlanOutcome(*shared->policy, job, &shared->cancel);
    lock.lock();
    if (shared->unwanted) {
      shared->busy = false;
    } else {
      shared->outcome.emplace(std::move(outcome));
      shared->done.store(true, std::memory_order_release);
    }
  }
  shared->gone = true;
  shared->changed.notify_all();
}

}  // namespace steelyard
