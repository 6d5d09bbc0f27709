// The planning side of one rank: history of windows, the worker, and what it keeps from plan to
// plan.
//
// A worker that does not end when told to is given up and replaced; after two of them no more is
// started, and the ballot says so.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "balance/plan_worker.h"
#include "steelyard/balance/balancer.h"

namespace steelyard {

class Planning {
 public:
  static constexpr int kMaxWorkersAbandoned = 2;

  Planning(const BalancerOptions& options,
           std::function<Result<std::unique_ptr<Policy>>()> make_policy)
      : options_(options), make_policy_(std::move(make_policy)) {}

  /// Takes the memory of the first plan. In mode kAsync also starts the worker.
  Status Start(const Placement& initial);

  void AddWindow(std::shared_ptr<const LoadWindow> window);

  /// Hands the history to the worker, replacing one that is still busy. Fails when no worker can be
  /// had.
  Status Submit(const Placement& current);
  /// The worker has something to take.
  bool done() const { return worker_ != nullptr && worker_->done(); }
  /// Requires: done().
  Result<PlanOutcome> Take() { return worker_->Take(); }
  /// Nobody wants what the worker does any more.
  void Cancel();

  /// Plans on the calling thread.
  Result<PlanOutcome> PlanNow(const Placement& current) {
    return MakePlanOutcome(*policy_, MakeJob(current), nullptr);
  }

  /// All ranks agreed on a plan: what the policy keeps is what it kept then.
  void Adopt(const PlanOutcome& outcome) { state_ = outcome.state; }

  bool stopped() const { return workers_abandoned_ >= kMaxWorkersAbandoned; }

 private:
  PlanJob MakeJob(const Placement& current) const;

  const BalancerOptions options_;
  const std::function<Result<std::unique_ptr<Policy>>()> make_policy_;
  std::unique_ptr<Policy> policy_;                         // mode kSync
  std::unique_ptr<PlanWorker> worker_;                     // mode kAsync
  std::deque<std::shared_ptr<const LoadWindow>> history_;  // oldest first
  PolicyState state_;
  int workers_abandoned_ = 0;
};

}  // namespace steelyard
