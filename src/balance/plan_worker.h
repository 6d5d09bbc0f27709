// A thread that plans: it is given a job by value, publishes what came of it, and is never waited
// for.
//
// The owner polls done() from the step thread. A worker that ignores its cancel flag is abandoned:
// it owns everything it touches, so it may go on by itself; nothing reads what it publishes.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "migrate/migration.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

struct PlanJob {
  Placement current;
  std::vector<std::shared_ptr<const LoadWindow>> history;  // oldest first
  PlanOptions options;
  PolicyState state;
  int staging_buffers = 1;
};

struct PlanOutcome {
  Placement target;
  Migration migration;
  PolicyState state;    // after planning; to be kept only if all ranks agree on the plan
  uint64_t digest = 0;  // of the plan and of every transfer and table of the migration
  int64_t duplicates_replaced = 0;
};

/// Policy::Prepare() for one worker. What the policy throws becomes kInternal.
Status PreparePolicy(Policy& policy, const Placement& current, const LoadShape& window_shape,
                     int num_windows);
/// Plans on the calling thread. What the policy throws becomes kInternal, and so does a plan for
/// other layers, experts or ranks than those in force.
Result<PlanOutcome> MakePlanOutcome(Policy& policy, const PlanJob& job, const CancelFlag* cancel);

class PlanWorker {
 public:
  /// Starts the thread. It owns the policy. Fails with kFailedPrecondition when it cannot be
  /// started.
  static Result<std::unique_ptr<PlanWorker>> Start(std::unique_ptr<Policy> policy);
  /// Tells the thread to end, and does not wait for it.
  ~PlanWorker();
  PlanWorker(const PlanWorker&) = delete;
  PlanWorker& operator=(const PlanWorker&) = delete;

  /// Requires: idle().
  void Submit(PlanJob job);
  /// The job has ended, and its outcome has not been taken.
  bool done() const;
  /// No job is running and none is waiting to be taken.
  bool idle() const;
  /// Requires: done().
  Result<PlanOutcome> Take();

  /// Waits until the job has ended, but not longer than `at_most`.
  void WaitForChange(Duration at_most) const;

  /// Asks the running job to end; its outcome is thrown away.
  void Cancel();

  /// Tells the thread to end, and waits for that no longer than `at_most`. Nothing may be submitted
  /// afterwards.
  void Stop(Duration at_most);

 private:
  struct Shared;
  explicit PlanWorker(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static void Run(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;
};

}  // namespace steelyard
