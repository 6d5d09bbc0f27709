#include "sim/cost_model.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "sim/placement_score.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// What does not depend on the policy, for each window that is scored.
struct Baseline {
  std::vector<double> steps;
  std::vector<double> imbalance;
  double level_ms = 0.0;  // MoE part of a step at imbalance 1
};

Baseline BaselineOf(const ReplayInput& input, const CostModel& model) {
  Baseline baseline;
  PlacementScorer scorer;
  std::vector<double> values;
  for (const LoadWindow& window : input.windows.subspan(1)) {
    const std::span<const double> counts = window.counts();
    const double pairs = std::accumulate(counts.begin(), counts.end(), 0.0);
    baseline.steps.push_back(pairs / window.shape().num_layers / model.top_k /
                             model.tokens_per_step);
    baseline.imbalance.push_back(scorer.Score(*input.start, window, values));
  }
  const double mean = std::accumulate(baseline.imbalance.begin(), baseline.imbalance.end(), 0.0) /
                      static_cast<double>(baseline.imbalance.size());
  baseline.level_ms = model.step_ms / mean;
  return baseline;
}

PolicyCost CostOf(const PolicyReplay& replay, const Baseline& baseline, const CostModel& model) {
  STEELYARD_CHECK_EQ(replay.cycles.size(), baseline.steps.size());
  const double ms_per_move =
      static_cast<double>(model.expert_bytes) * 8.0 / (model.link_gbps * 1e9) * 1e3;
  const auto num_cycles = static_cast<double>(replay.cycles.size());
  PolicyCost cost;
  double steps = 0.0;
  double saved = 0.0;
  double spent = 0.0;
  double taken = 0.0;  // by the MoE parts under the placement at the start
  for (size_t t = 0; t < replay.cycles.size(); ++t) {
    const ReplayCycle& cycle = replay.cycles[t];
    steps += baseline.steps[t];
    taken += baseline.steps[t] * baseline.level_ms * baseline.imbalance[t];
    saved += baseline.steps[t] * baseline.level_ms * (baseline.imbalance[t] - cycle.imbalance_next);
    spent += static_cast<double>(cycle.busiest_rank_moves) * ms_per_move;
  }
  cost.first_spent_ms = static_cast<double>(replay.cycles[0].busiest_rank_moves) * ms_per_move;
  cost.steps_per_window = steps / num_cycles;
  cost.saved_ms_per_window = saved / num_cycles;
  cost.spent_ms_per_window =
      num_cycles > 1.0 ? (spent - cost.first_spent_ms) / (num_cycles - 1.0) : 0.0;
  cost.net_ms = saved - spent;
  cost.net_percent = taken > 0.0 ? cost.net_ms / taken * 100.0 : 0.0;
  cost.break_even_steps = saved > 0.0 ? cost.spent_ms_per_window / (saved / steps)
                                      : std::numeric_limits<double>::infinity();
  cost.pays = cost.net_ms > 0.0;
  return cost;
}

}  // namespace

Status CostModel::Validate() const {
  const auto check = [](std::string_view name, double value) {
    return std::isfinite(value) && value > 0.0
               ? Status::Ok()
               : InvalidArgument(
                     fmt::format("{} is {}, but must be finite and above 0", name, value));
  };
  STEELYARD_RETURN_IF_ERROR(check("expert_bytes", static_cast<double>(expert_bytes)));
  STEELYARD_RETURN_IF_ERROR(check("link_gbps", link_gbps));
  STEELYARD_RETURN_IF_ERROR(check("step_ms", step_ms));
  STEELYARD_RETURN_IF_ERROR(check("tokens_per_step", tokens_per_step));
  return check("top_k", top_k);
}

Result<std::vector<PolicyCost>> CostsOf(std::span<const PolicyReplay> replays,
                                        const ReplayInput& input, const CostModel& model) {
  STEELYARD_RETURN_IF_ERROR(model.Validate());
  const Baseline baseline = BaselineOf(input, model);
  std::vector<PolicyCost> costs;
  for (const PolicyReplay& replay : replays) {
    costs.push_back(CostOf(replay, baseline, model));
  }
  return costs;
}

}  // namespace steelyard
