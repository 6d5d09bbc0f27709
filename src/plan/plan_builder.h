// What every policy does around its own search: checks its input, reads a layer's bins, and turns a
// new slot_to_expert into a Plan with its reports and its digest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "plan/score.h"
#include "plan/share_solver.h"
#include "steelyard/base/span.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Fails with kInvalidArgument, naming what disagrees, unless there is a placement and a window,
/// all windows have one shape, that shape fits the placement, and the options are in range.
Status CheckPlanInput(const PlanInput& input);

/// The same for a policy that knows neither other ranks than those in force, nor ranks that differ,
/// nor limits: asking it for them is kInvalidArgument too.
Status CheckPlainInput(std::string_view policy, const PlanInput& input);

/// kCancelled when the flag is there and set.
Status CheckNotCancelled(const PlanContext& context);

/// Tokens of one layer, bin by bin with phases summed in order, into `bins` [num_bins,
/// num_experts].
void ReadLayerBins(const LoadWindow& window, int layer_idx, Span2<double> bins);

/// What a policy says of a layer; figures are added by PlanBuilder.
struct LayerDecision {
  LayerVerdict verdict = LayerVerdict::kKeptByPolicy;
  BindingLimit limit = BindingLimit::kNone;
  bool from_scratch = false;
  bool wanted = true;
  double gain = 0.0;  // of imbalance, that its moves have on the forecast; only of `steelyard`
  Predictor predictor = Predictor::kLast;
};

/// Memory for the report of plans of one shape. One object per policy.
class PlanBuilder {
 public:
  /// Takes and touches memory, so that Build() for this shape allocates nothing but the plan.
  void Prepare(const Placement& current, const LoadShape& window_shape, int num_workers);

  /// Replaces `shares` [num_slots] of a layer that holds `slots` [num_slots] on input.topology() by
  /// an even split or, where those slots are in force, by the shares in force, if that is better
  /// bin by bin on the last window. Layers may be chosen for in parallel, with a worker each.
  void ChooseShares(const PlanInput& input, int layer_idx, std::span<const int32_t> slots,
                    int worker_idx, std::span<double> shares);

  /// Takes over `placement`, which is on input.topology(); where shares are to be weighted, a layer
  /// gets its own or, without any, those that are best for the last window's sum, as far as
  /// ChooseShares() leaves them. `decisions` is [num_layers]; imbalances
  /// are on the last window of `input`; the digest covers `state` as it is now, so call this last.
  /// Fails with kCancelled when context.cancel was set.
  Result<Plan> Build(const PlanInput& input, Placement placement,
                     std::span<const LayerDecision> decisions, const PolicyState& state,
                     const PlanContext& context);

 private:
  struct Worker {
    ScoreWorkspace score;
    ShareSolver shares;
    std::vector<double> bins;  // [num_bins, num_experts]
    std::vector<double> sum;   // [num_experts]
  };

  void FitShares(const PlanInput& input, const Placement& placement, int layer_idx, int worker_idx,
                 std::span<double> shares);
  Result<Placement> WithShares(const PlanInput& input, const Placement& placement,
                               const PlanContext& context);
  void Report(const PlanInput& input, int layer_idx, Plan& plan, Worker& worker) const;

  std::vector<Worker> workers_;  // [num_workers]
};

/// A limit in words, as "the limit on moves to a rank".
std::string_view LimitText(BindingLimit limit);

/// kChanged for each layer whose slots differ, kKeptByPolicy for the others, [num_layers].
std::vector<LayerDecision> DecisionsByComparison(const Placement& before, const Placement& after);

}  // namespace steelyard
