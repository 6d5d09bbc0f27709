#include "balance/plan_worker.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <atomic>
#include <bit>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "plan/duplicates.h"
#include "steelyard/base/check.h"
#include "steelyard/base/executor.h"

namespace steelyard {
namespace {

std::vector<double> SummedLoads(const LoadWindow& window) {
  const LoadShape& shape = window.shape();
  std::vector<double> loads(size_t{1} * shape.num_layers * shape.num_experts, 0.0);
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    window.AddLayerTo(layer, std::span<double>(loads).subspan(size_t{1} * layer * shape.num_experts,
                                                              shape.num_experts));
  }
  return loads;
}

// Ranks that planned on different loads may come to one placement by different rounds, and must not
// carry those out together.
uint64_t DigestOf(uint64_t plan_digest, const Placement& target, const Migration& migration) {
  std::vector<uint64_t> words = {plan_digest, target.Digest(), migration.rounds.size()};
  for (const Round& round : migration.rounds) {
    words.push_back(round.arrivals.size());
    for (const Arrival& arrival : round.arrivals) {
      for (const int32_t word :
           {arrival.layer, arrival.rank, arrival.expert, arrival.source_rank}) {
        words.push_back(static_cast<uint64_t>(word));
      }
    }
    words.push_back(round.steps.size());
    for (const LayerStep& step : round.steps) {
      words.push_back(static_cast<uint64_t>(step.layer));
      words.insert(words.end(), step.slot_to_expert.begin(), step.slot_to_expert.end());
      for (const double share : step.shares) {
        words.push_back(std::bit_cast<uint64_t>(share));
      }
    }
  }
  return XXH3_64bits(words.data(), words.size() * sizeof(uint64_t));
}

// A policy is the host's: what its plan fits is looked at, not trusted.
Status CheckFits(const Placement& current, const Placement& planned) {
  if (planned.topology() == current.topology() && planned.num_layers() == current.num_layers() &&
      planned.num_experts() == current.num_experts()) {
    return Status::Ok();
  }
  return Internal(
      fmt::format("it planned {} where {} is in force", planned.ToString(), current.ToString()));
}

// Limits, too, are held to, whoever planned. Those that bind pairs of ranks and nodes are kept by
// the migration.
Status CheckLimits(const PlanOptions& options, const Migration& migration) {
  const MoveLimits& limits = options.limits;
  const int64_t moves = migration.num_arrivals;
  if (moves > limits.moves ||
      (options.expert_bytes > 0 && moves > limits.bytes / options.expert_bytes)) {
    return Internal(fmt::format("it planned {} moves, more than the limits allow", moves));
  }
  std::map<std::pair<int32_t, int32_t>, int64_t> received;  // by layer, rank
  for (const Round& round : migration.rounds) {
    for (const Arrival& arrival : round.arrivals) {
      if (++received[{arrival.layer, arrival.rank}] > limits.per_receiving_rank) {
        return Internal(
            fmt::format("it planned more moves to rank {} in layer {} than the {} that the limits "
                        "allow",
                        arrival.rank, arrival.layer, limits.per_receiving_rank));
      }
    }
  }
  return Status::Ok();
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
  STEELYARD_RETURN_IF_ERROR(CheckFits(job.current, plan.placement));
  Placement target = std::move(plan.placement);
  int64_t duplicates_replaced = 0;
  if (target.CountDuplicates() > 0) {
    STEELYARD_ASSIGN_OR_RETURN(WithoutDuplicates live,
                               ReplaceDuplicates(target, SummedLoads(history.back())));
    target = std::move(live.placement);
    duplicates_replaced = live.num_replaced;
  }
  Migration migration =
      PlanMigration(job.current, target, history.back(), job.staging_buffers, job.options.limits);
  STEELYARD_RETURN_IF_ERROR(CheckLimits(job.options, migration));
  const uint64_t digest = DigestOf(plan.digest, target, migration);
  return PlanOutcome{std::move(target), std::move(migration), std::move(state), digest,
                     duplicates_replaced};
}

// What `body` comes to, named after the policy that it calls.
template <typename Body>
auto Guarded(const Policy& policy, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::exception& error) {
    return Internal(fmt::format("policy {} threw: {}", policy.name(), error.what()));
  } catch (...) {
    return Internal(
        fmt::format("policy {} threw something that is no std::exception", policy.name()));
  }
}

}  // namespace

Status PreparePolicy(Policy& policy, const Placement& current, const LoadShape& window_shape,
                     int num_windows) {
  return Guarded(policy, [&] { return policy.Prepare(current, window_shape, num_windows, 1); });
}

Result<PlanOutcome> MakePlanOutcome(Policy& policy, const PlanJob& job, const CancelFlag* cancel) {
  return Guarded(policy, [&] { return PlanOnce(policy, job, cancel); });
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

Result<std::unique_ptr<PlanWorker>> PlanWorker::Start(std::unique_ptr<Policy> policy) {
  const auto shared = std::make_shared<Shared>();
  shared->policy = std::move(policy);
  try {
    std::thread([shared] { Run(shared); }).detach();
  } catch (const std::system_error& error) {
    return FailedPrecondition(
        fmt::format("the planning thread cannot be started: {}", error.what()));
  }
  return std::unique_ptr<PlanWorker>(new PlanWorker(shared));
}

PlanWorker::~PlanWorker() { Stop(Duration::zero()); }

void PlanWorker::Stop(Duration at_most) {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->stop = true;
  shared_->cancel.Cancel();
  shared_->changed.notify_all();
  shared_->changed.wait_for(lock, at_most, [this] { return shared_->gone; });
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

void PlanWorker::WaitForChange(Duration at_most) const {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->changed.wait_for(lock, at_most,
                            [this] { return shared_->outcome.has_value() || !shared_->busy; });
}

void PlanWorker::Cancel() {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  if (!shared_->busy) {
    return;
  }
  shared_->cancel.Cancel();
  shared_->unwanted = true;
  if (shared_->job.has_value() || shared_->outcome.has_value()) {
    shared_->job.reset();
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
    shared->changed.notify_all();
  }
  shared->gone = true;
  shared->changed.notify_all();
}

}  // namespace steelyard
