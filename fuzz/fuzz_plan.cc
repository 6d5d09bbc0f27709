#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fuzz/choices.h"
#include "fuzz/plan_case.h"
#include "fuzz/plan_checks.h"
#include "fuzz/targets.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr size_t kMostWindows = 4;  // of the history

// Three workers that take layers from the last to the first, as no thread pool is likely to.
class BackwardExecutor : public Executor {
 public:
  int num_workers() const override { return 3; }
  void Run(int num_tasks, const std::function<void(int, int)>& body) override {
    for (int task_idx = num_tasks - 1; task_idx >= 0; --task_idx) {
      body(task_idx, task_idx % num_workers());
    }
  }
};

// Another object, and other workers, make the same of it, bit for bit.
void CheckRepeats(std::string_view policy, const PlanInput& input, PolicyState state,
                  const Result<Plan>& plan, const PolicyState& state_after) {
  BackwardExecutor executor;
  const Result<Plan> again =
      MakePolicy(policy).value()->MakePlan(input, state, {.executor = &executor});
  STEELYARD_CHECK_EQ(again.status().message(), plan.status().message());
  if (!plan.ok()) return;
  STEELYARD_CHECK_EQ(again->digest, plan->digest);
  STEELYARD_CHECK(again->placement == plan->placement);
  STEELYARD_CHECK(state.values == state_after.values);
  STEELYARD_CHECK(state.slots == state_after.slots);
}

}  // namespace

void FuzzPlan(std::string_view bytes) {
  Choices choices(bytes);
  std::optional<PlanCase> drawn = DrawPlanCase(choices);
  if (!drawn.has_value()) return;
  PlanCase& plan_case = *drawn;
  const std::unique_ptr<Policy> policy = MakePolicy(plan_case.policy).value();
  PolicyState state;
  std::vector<LoadWindow> history;
  for (int cycle = 0; cycle < plan_case.num_cycles; ++cycle) {
    if (history.size() == kMostWindows) history.erase(history.begin());
    history.push_back(DrawWindow(choices, plan_case.shape, plan_case.tokens));
    if (choices.OneIn(8)) {
      plan_case.target =
          DrawTopology(choices, plan_case.shape.num_experts).value_or(plan_case.target);
    }
    const PlanInput input = {.current = &plan_case.current,
                             .history = history,
                             .options = plan_case.options,
                             .target = &plan_case.target};
    const PolicyState before = state;
    Result<Plan> plan = policy->MakePlan(input, state, {});
    CheckRepeats(plan_case.policy, input, before, plan, state);
    if (!plan.ok()) {
      CheckRefusal(plan_case.policy, input, plan.status());
      continue;
    }
    CheckPlan(plan_case.policy, input, *plan);
    plan_case.current = std::move(plan->placement);
  }
}

}  // namespace steelyard
