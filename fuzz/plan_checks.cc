#include "fuzz/plan_checks.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "plan/plan_builder.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// Figures of a report are sums in another order than here.
constexpr double kRounding = 1e-9;

bool MayRefuse(std::string_view policy, const PlanInput& input) {
  if (!CheckPlanInput(input).ok()) return true;
  const PlanOptions& options = input.options;
  if (policy == "steelyard") {
    return options.limits.any();
  }
  return !CheckPlainInput(policy, input).ok() || options.num_groups > 1;
}

std::set<int> HeldBy(const Placement& placement, int layer_idx, int rank) {
  std::set<int> held;
  if (rank >= placement.topology().num_ranks()) return held;
  const int first = placement.topology().first_slot_of_rank(rank);
  for (int i = 0; i < placement.topology().live_slots(rank); ++i) {
    held.insert(placement.slot_to_expert(layer_idx)[first + i]);
  }
  return held;
}

void CheckPlacement(std::string_view policy, const PlanInput& input, const Plan& plan) {
  const Placement& placement = plan.placement;
  const Placement& current = *input.current;
  STEELYARD_CHECK(placement.topology() == input.topology());
  STEELYARD_CHECK_EQ(placement.num_layers(), current.num_layers());
  STEELYARD_CHECK_EQ(placement.num_experts(), current.num_experts());
  if (input.options.split == SplitRule::kWeighted) STEELYARD_CHECK(placement.has_shares());
  const std::span<const int32_t> slots = placement.slot_to_expert();
  std::vector<double> shares;
  for (int layer = 0; placement.has_shares() && layer < placement.num_layers(); ++layer) {
    shares.insert(shares.end(), placement.shares(layer).begin(), placement.shares(layer).end());
  }
  const Result<Placement> checked =
      Placement::Create(placement.topology(), placement.num_experts(), {slots.begin(), slots.end()},
                        DuplicateRule::kAllow, std::move(shares));
  STEELYARD_CHECK_EQ(checked.status().message(), "");
  STEELYARD_CHECK_EQ(plan.duplicates, placement.CountDuplicates());
  if (policy == "random" || (policy == "steelyard" && !input.options.limits.any())) {
    STEELYARD_CHECK_EQ(plan.duplicates, 0);
  }
  if (policy == "steelyard" || policy == "static" || policy == "swift") {
    STEELYARD_CHECK_LE(plan.duplicates, current.CountDuplicates());
  }
}

int MovesByLooking(const PlanInput& input, const Plan& plan, int layer_idx) {
  int num_moves = 0;
  for (int rank = 0; rank < plan.placement.topology().num_ranks(); ++rank) {
    const std::set<int> had = HeldBy(*input.current, layer_idx, rank);
    for (const int expert : HeldBy(plan.placement, layer_idx, rank)) {
      num_moves += had.count(expert) == 0 ? 1 : 0;
    }
  }
  return num_moves;
}

// The objective of docs/planning.md from each expert's slots, bins alike, for a cost of tokens.
double ImbalanceByLooking(const PlanInput& input, const Placement& placement, int layer_idx) {
  const LoadWindow& window = input.history.back();
  const Topology& topology = placement.topology();
  const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(placement, layer_idx);
  double sum_of_largest = 0;
  double sum = 0;
  for (int bin = 0; bin < window.shape().num_bins; ++bin) {
    std::vector<double> rank_load(topology.num_ranks());
    for (int phase = 0; phase < window.shape().num_phases; ++phase) {
      const std::span<const double> experts = window.experts(bin, phase, layer_idx);
      for (size_t expert = 0; expert < slots.size(); ++expert) {
        sum += experts[expert];
        for (const int32_t slot : slots[expert]) {
          const double share = placement.has_shares()
                                   ? placement.shares(layer_idx)[slot]
                                   : 1.0 / static_cast<double>(slots[expert].size());
          const int rank = topology.rank_of_slot(slot);
          rank_load[rank] += experts[expert] * share / topology.speed(rank);
        }
      }
    }
    sum_of_largest += *std::max_element(rank_load.begin(), rank_load.end());
  }
  return sum == 0 ? 1.0 : sum_of_largest * topology.total_speed() / sum;
}

void CheckReports(const PlanInput& input, const Plan& plan) {
  STEELYARD_CHECK_EQ(plan.layers.size(), static_cast<size_t>(plan.placement.num_layers()));
  int64_t num_moves = 0;
  for (int layer_idx = 0; layer_idx < plan.placement.num_layers(); ++layer_idx) {
    const LayerReport& report = plan.layers[layer_idx];
    STEELYARD_CHECK(!report.Reason().empty());
    STEELYARD_CHECK_EQ(report.moves, MovesByLooking(input, plan, layer_idx));
    STEELYARD_CHECK_EQ(report.moves, CountMoves(*input.current, plan.placement, layer_idx));
    if (report.verdict != LayerVerdict::kChanged) STEELYARD_CHECK_EQ(report.moves, 0);
    num_moves += report.moves;
    if (!input.options.rank_cost.is_tokens()) continue;
    const double after = ImbalanceByLooking(input, plan.placement, layer_idx);
    STEELYARD_CHECK_LE(std::fabs(report.imbalance_after - after), kRounding * after);
    STEELYARD_CHECK_GE(report.lower_bound, 1.0);
    STEELYARD_CHECK_LE(report.lower_bound, report.imbalance_after * (1 + kRounding));
  }
  STEELYARD_CHECK_EQ(plan.moves, num_moves);
}

// Experts that a rank gets, with the live ranks that could send each.
struct Arrival {
  int expert = 0;
  std::vector<int> sources;
};

std::vector<Arrival> ArrivalsAt(const PlanInput& input, const Plan& plan, int layer_idx, int rank) {
  std::vector<Arrival> arrivals;
  const Topology& topology = input.topology();
  const std::set<int> had = HeldBy(*input.current, layer_idx, rank);
  for (const int expert : HeldBy(plan.placement, layer_idx, rank)) {
    if (had.count(expert) > 0) continue;
    Arrival& arrival = arrivals.emplace_back(Arrival{expert, {}});
    for (int source = 0; source < topology.num_ranks(); ++source) {
      if (!topology.is_dead(source) &&
          HeldBy(*input.current, layer_idx, source).count(expert) > 0) {
        arrival.sources.push_back(source);
      }
    }
  }
  return arrivals;
}

// Finds senders so that none serves more than `limit`: a matching, one augmenting path at a time.
class Senders {
 public:
  Senders(const std::vector<Arrival>& arrivals, int num_ranks, int64_t limit)
      : arrivals_(arrivals), served_(num_ranks), limit_(static_cast<size_t>(limit)) {}

  bool Exist() {
    for (size_t i = 0; i < arrivals_.size(); ++i) {
      std::vector<bool> tried(served_.size());
      // What no live rank holds comes from elsewhere.
      if (!arrivals_[i].sources.empty() && !Serve(i, tried)) return false;
    }
    return true;
  }

 private:
  bool Serve(size_t arrival, std::vector<bool>& tried) {
    for (const int source : arrivals_[arrival].sources) {
      if (tried[source]) continue;
      tried[source] = true;
      if (served_[source].size() < limit_) {
        served_[source].push_back(arrival);
        return true;
      }
      for (size_t& other : served_[source]) {
        if (Serve(other, tried)) {
          other = arrival;
          return true;
        }
      }
    }
    return false;
  }

  const std::vector<Arrival>& arrivals_;
  std::vector<std::vector<size_t>> served_;  // [num_ranks] arrivals
  size_t limit_;
};

void CheckLayerLimits(const PlanInput& input, const Plan& plan, int layer_idx) {
  const MoveLimits& limits = input.options.limits;
  const Topology& topology = input.topology();
  std::set<std::pair<int, int>> crossings;  // (node, expert)
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    const std::vector<Arrival> arrivals = ArrivalsAt(input, plan, layer_idx, rank);
    const int node = topology.node_of_rank(rank);
    for (const Arrival& arrival : arrivals) {
      if (std::none_of(arrival.sources.begin(), arrival.sources.end(),
                       [&](int source) { return topology.node_of_rank(source) == node; })) {
        crossings.insert({node, arrival.expert});
      }
    }
    STEELYARD_CHECK_LE(static_cast<int64_t>(arrivals.size()), limits.per_receiving_rank);
    STEELYARD_CHECK(Senders(arrivals, topology.num_ranks(), limits.per_rank_pair).Exist());
  }
  STEELYARD_CHECK_LE(static_cast<int64_t>(crossings.size()), limits.across_nodes);
}

void CheckLimits(const PlanInput& input, const Plan& plan) {
  const MoveLimits& limits = input.options.limits;
  STEELYARD_CHECK_LE(plan.moves, limits.moves);
  if (limits.bytes != MoveLimits::kNone && plan.moves > 0) {
    STEELYARD_CHECK_LE(input.options.expert_bytes, limits.bytes / plan.moves);
  }
  for (int layer_idx = 0; limits.any() && layer_idx < plan.placement.num_layers(); ++layer_idx) {
    CheckLayerLimits(input, plan, layer_idx);
  }
}

}  // namespace

void CheckRefusal(std::string_view policy, const PlanInput& input, const Status& status) {
  STEELYARD_CHECK(status.code() == StatusCode::kInvalidArgument ||
                  status.code() == StatusCode::kFailedPrecondition);
  STEELYARD_CHECK(!status.message().empty());
  if (!MayRefuse(policy, input)) STEELYARD_CHECK_EQ(status.message(), "");
}

void CheckPlan(std::string_view policy, const PlanInput& input, const Plan& plan) {
  STEELYARD_CHECK(CheckPlanInput(input).ok());
  CheckPlacement(policy, input, plan);
  CheckReports(input, plan);
  CheckLimits(input, plan);
}

}  // namespace steelyard
