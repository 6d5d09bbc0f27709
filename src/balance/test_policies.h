// Policies that go wrong on purpose, for the tests of the balancer.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "steelyard/plan/policy.h"

namespace steelyard {

/// Plans as `steelyard` does, but for what `plan` makes of it.
class ScriptedPolicy : public Policy {
 public:
  /// `call` counts the plans of this object from 0; `inner` plans as it should.
  using Script = std::function<Result<Plan>(int call, Policy& inner, const PlanInput& input,
                                            PolicyState& state, const PlanContext& context)>;

  explicit ScriptedPolicy(Script script)
      : script_(std::move(script)), inner_(MakePolicy("steelyard").value()) {}

  std::string_view name() const override { return "scripted"; }
  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) override {
    return inner_->Prepare(current, window_shape, num_windows, num_workers);
  }
  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    return script_(num_calls_++, *inner_, input, state, context);
  }

 private:
  Script script_;
  std::unique_ptr<Policy> inner_;
  int num_calls_ = 0;
};

/// Where a policy hangs until the test lets it go.
class HangingGate {
 public:
  /// Returns when the gate is open, or `cancel` (which may be null) is set.
  void Hang(const CancelFlag* cancel) {
    ++num_entered_;
    while (!open_ && (cancel == nullptr || !cancel->cancelled())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ++num_left_;
  }
  int num_entered() const { return num_entered_; }
  /// Waits for whoever is inside.
  void OpenAndWait() {
    open_ = true;
    while (num_left_ < num_entered_) std::this_thread::yield();
  }

 private:
  std::atomic<bool> open_{false};
  std::atomic<int> num_entered_{0};
  std::atomic<int> num_left_{0};
};

}  // namespace steelyard
