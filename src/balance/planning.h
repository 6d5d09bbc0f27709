// The planning side of one rank: history of windows, the worker, and what it keeps from plan to
// plan.
//
// A worker whose job is no longer wanted is told to end, and given time to do so while the next job
// waits for it. One that is still busy then is given up and replaced; after two of them no more is
// started, and the ballot says so.
#pragma once

#include <cstdint>
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
  using MakePolicyFunction = std::function<Result<std::unique_ptr<Policy>>()>;

  /// `clock` must outlive it.
  Planning(const BalancerOptions& options, const Clock* clock, MakePolicyFunction make_policy)
      : options_(options), clock_(clock), make_policy_(std::move(make_policy)) {}
  /// Waits a moment for the worker, and no longer.
  ~Planning();

  /// Takes the memory of the first plan and starts the worker. Fails when there is no policy, or
  /// it cannot be made.
  Status Start(const Placement& initial);

  void AddWindow(int64_t window_idx, std::shared_ptr<const LoadWindow> loads);
  /// Plans see windows after this one only.
  void ForgetWindowsUpTo(int64_t window_idx);

  /// Asks for a plan on the history. Requires: the last one was taken or cancelled.
  void Submit(const Placement& current);
  /// The plan, or why there is none; nothing while it is being made.
  std::optional<Result<PlanOutcome>> Poll();
  /// Waits until Poll() may have something, but not longer than `at_most` of real time.
  void Wait(Duration at_most) const;
  /// Nobody wants the plan any more.
  void Cancel();

  /// All ranks agreed on a plan: what the policy keeps is what it kept then.
  void Adopt(const PlanOutcome& outcome) { state_ = outcome.state; }

  bool stopped() const { return workers_abandoned_ >= kMaxWorkersAbandoned; }

 private:
  struct Window {
    int64_t window_idx;
    std::shared_ptr<const LoadWindow> loads;
  };

  PlanJob MakeJob(const Placement& current) const;
  Result<std::unique_ptr<PlanWorker>> MakeWorker(const Placement& current) const;
  Status ReplaceWorker();

  const BalancerOptions options_;
  const Clock* clock_;
  const MakePolicyFunction make_policy_;
  std::unique_ptr<PlanWorker> worker_;
  std::optional<PlanJob> waiting_;   // for the worker to end what was cancelled
  std::optional<Deadline> parting_;  // when a worker that was told to end should have
  std::deque<Window> history_;       // oldest first
  PolicyState state_;
  int workers_abandoned_ = 0;
};

}  // namespace steelyard
