#include "sim/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "sim/gate.h"
#include "sim/placement_score.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// One policy on its way through the windows.
class Run {
 public:
  Run(std::string_view name, const ReplayInput& input, const ReplayContext& context)
      : input_(input),
        context_(context),
        clairvoyant_(name == kClairvoyant),
        in_force_(*input.start) {
    replay_.policy = name;
    plan_options_ = input.plan;
    if (clairvoyant_) {
      plan_options_.predictor = Predictor::kLast;
      plan_options_.recency = 1.0;
    }
    if (!clairvoyant_ && name != "steelyard") plan_options_.limits = {};
  }

  Status Prepare();
  Status Cycle(int window_idx);
  PolicyReplay Finish();

 private:
  std::span<const LoadWindow> History(int window_idx) const {
    return clairvoyant_ ? input_.windows.subspan(window_idx + 1, 1)
                        : input_.windows.first(window_idx + 1);
  }
  Result<Plan> MakePlan(int window_idx, double* plan_ms);

  const ReplayInput& input_;
  const ReplayContext& context_;
  const bool clairvoyant_;
  PlanOptions plan_options_;
  std::unique_ptr<Policy> policy_;
  PolicyState state_;
  Placement in_force_;
  PlacementScorer scorer_;
  std::vector<double> next_;     // imbalance on the next window, of every cycle, layer and bin
  std::vector<double> planned_;  // of the cycle at hand, on its own window
  PolicyReplay replay_;
};

Status Run::Prepare() {
  STEELYARD_ASSIGN_OR_RETURN(policy_, MakePolicy(clairvoyant_ ? "steelyard" : replay_.policy));
  const auto most = clairvoyant_ ? 1 : static_cast<int>(input_.windows.size()) - 1;
  return policy_->Prepare(in_force_, input_.windows[0].shape(), most,
                          context_.executor->num_workers());
}

Result<Plan> Run::MakePlan(int window_idx, double* plan_ms) {
  PlanInput input;
  input.current = &in_force_;
  input.history = History(window_idx);
  input.options = plan_options_;
  PlanContext context;
  context.executor = context_.executor;
  context.cancel = context_.cancel;
  const TimePoint begin = context_.clock->Now();
  Result<Plan> plan = policy_->MakePlan(input, state_, context);
  *plan_ms = std::chrono::duration<double, std::milli>(context_.clock->Now() - begin).count();
  return plan;
}

Status Run::Cycle(int window_idx) {
  ReplayCycle cycle;
  STEELYARD_ASSIGN_OR_RETURN(Plan plan, MakePlan(window_idx, &cycle.plan_ms));
  if (input_.gated) {
    STEELYARD_ASSIGN_OR_RETURN(plan.placement, OnlyWanted(plan, in_force_));
  }
  Placement after = std::move(plan.placement);
  cycle.moves = CountMoves(in_force_, after);
  cycle.busiest_rank_moves = BusiestRankMoves(in_force_, after);
  cycle.duplicates = after.CountDuplicates();
  in_force_ = std::move(after);
  planned_.clear();
  cycle.imbalance_plan = scorer_.Score(in_force_, input_.windows[window_idx], planned_);
  cycle.imbalance_next = scorer_.Score(in_force_, input_.windows[window_idx + 1], next_);
  replay_.cycles.push_back(cycle);
  return context_.after_plan ? context_.after_plan(window_idx, in_force_) : Status::Ok();
}

PolicyReplay Run::Finish() {
  const auto num_cycles = static_cast<double>(replay_.cycles.size());
  double plan = 0.0;
  double next = 0.0;
  std::vector<double> times;
  for (const ReplayCycle& cycle : replay_.cycles) {
    plan += cycle.imbalance_plan;
    next += cycle.imbalance_next;
    replay_.moves += cycle.moves;
    replay_.duplicates = std::max(replay_.duplicates, cycle.duplicates);
    times.push_back(cycle.plan_ms);
  }
  replay_.imbalance_plan = plan / num_cycles;
  replay_.imbalance_next = next / num_cycles;
  replay_.imbalance_next_p95 = Quantile(std::move(next_), 0.95);
  replay_.first_moves = replay_.cycles.front().moves;
  replay_.moves -= replay_.first_moves;
  if (times.size() > 1) {
    replay_.moves_per_cycle = static_cast<double>(replay_.moves) / (num_cycles - 1.0);
    times.erase(times.begin());
  }
  replay_.plan_ms = Quantile(std::move(times), 0.5);
  return std::move(replay_);
}

}  // namespace

std::vector<std::string> AllReplayPolicies() {
  return {"static", "random", "deepseek", "vllm", "swift", "flashlb", "steelyard"};
}

bool IsReplayPolicy(std::string_view name) {
  const std::vector<std::string_view> known = PolicyNames();
  return name == kClairvoyant || std::find(known.begin(), known.end(), name) != known.end();
}

Result<std::vector<LoadWindow>> CutWindows(const LoadWindow& trace, int bins_per_window) {
  LoadShape shape = trace.shape();
  if (bins_per_window < 1) {
    return InvalidArgument(
        fmt::format("bins_per_window is {}, but must be at least 1", bins_per_window));
  }
  const int num_windows = shape.num_bins / bins_per_window;
  if (num_windows < 2) {
    return InvalidArgument(fmt::format(
        "{} bin{} in windows of {} are {} window{}, but a plan is scored on the window after it: "
        "two are needed",
        shape.num_bins, shape.num_bins == 1 ? "" : "s", bins_per_window, num_windows,
        num_windows == 1 ? "" : "s"));
  }
  shape.num_bins = bins_per_window;
  std::vector<LoadWindow> windows;
  for (int w = 0; w < num_windows; ++w) {
    const std::span<const double> counts =
        trace.counts().subspan(w * shape.num_counts(), shape.num_counts());
    STEELYARD_ASSIGN_OR_RETURN(LoadWindow window,
                               LoadWindow::Create(shape, {counts.begin(), counts.end()}));
    windows.push_back(std::move(window));
  }
  return windows;
}

Result<PolicyReplay> ReplayPolicy(std::string_view policy, const ReplayInput& input,
                                  const ReplayContext& context) {
  STEELYARD_CHECK_GE(input.windows.size(), size_t{2});
  Run run(policy, input, context);
  Status status = run.Prepare();
  if (!status.ok()) return status;
  for (size_t t = 0; t + 1 < input.windows.size(); ++t) {
    status = run.Cycle(static_cast<int>(t));
    if (!status.ok()) {
      return status.WithContext(fmt::format("policy {}, window {}", policy, t));
    }
  }
  return run.Finish();
}

}  // namespace steelyard
