#include "plan/plan_builder.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

static_assert(std::endian::native == std::endian::little, "digests are over little-endian bytes");

std::string ShapeText(const LoadShape& shape) {
  return fmt::format("{} bins x {} phases x {} layers x {} experts", shape.num_bins,
                     shape.num_phases, shape.num_layers, shape.num_experts);
}

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) {
    STEELYARD_CHECK(state_ != nullptr);
    XXH3_64bits_reset(state_.get());
  }

  /// Requires: a type whose bytes are its value.
  template <typename T>
  void Add(std::span<const T> values) {
    Add(static_cast<uint64_t>(values.size()));
    XXH3_64bits_update(state_.get(), values.data(), values.size_bytes());
  }
  void Add(uint64_t value) { XXH3_64bits_update(state_.get(), &value, sizeof value); }

  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, FreeHash> state_;
};

uint64_t PlanDigest(const Plan& plan, const PolicyState& state) {
  Hasher hasher;
  hasher.Add(plan.placement.Digest());
  hasher.Add(static_cast<uint64_t>(plan.layers.size()));
  for (const LayerReport& report : plan.layers) {
    hasher.Add(static_cast<uint64_t>(report.moves));
  }
  hasher.Add(std::span<const double>(state.values));
  hasher.Add(std::span<const int32_t>(state.slots));
  return hasher.digest();
}

}  // namespace

Status CheckPlanInput(const PlanInput& input) {
  if (input.current == nullptr) {
    return InvalidArgument("a plan needs the placement in force");
  }
  if (input.history.empty()) {
    return InvalidArgument("a plan needs at least one window of loads");
  }
  const LoadShape& shape = input.history.back().shape();
  for (size_t t = 0; t < input.history.size(); ++t) {
    if (!(input.history[t].shape() == shape)) {
      return InvalidArgument(fmt::format("window {} of the history is {}, but the last one is {}",
                                         t, ShapeText(input.history[t].shape()), ShapeText(shape)));
    }
  }
  const Placement& current = *input.current;
  if (shape.num_layers != current.num_layers() || shape.num_experts != current.num_experts()) {
    return InvalidArgument(fmt::format(
        "the loads are of {} layers x {} experts, but the placement is of {} x {}",
        shape.num_layers, shape.num_experts, current.num_layers(), current.num_experts()));
  }
  if (shape.num_bins < 1 || shape.num_phases < 1) {
    return InvalidArgument("a window of " + ShapeText(shape) + " has no loads");
  }
  const Topology& topology = input.topology();
  if (topology.slots_per_rank() > current.num_experts()) {
    return InvalidArgument(fmt::format("{} slots on a rank are more than {} experts",
                                       topology.slots_per_rank(), current.num_experts()));
  }
  if (topology.num_live_slots() < current.num_experts()) {
    return InvalidArgument(fmt::format("{} live slots are fewer than {} experts",
                                       topology.num_live_slots(), current.num_experts()));
  }
  return input.options.Validate();
}

Status CheckPlainInput(std::string_view policy, const PlanInput& input) {
  STEELYARD_RETURN_IF_ERROR(CheckPlanInput(input));
  if (!(input.topology() == input.current->topology()) || !input.topology().is_plain()) {
    return InvalidArgument(fmt::format(
        "policy {} plans only for the ranks in force, all alive, with equal slots and speed",
        policy));
  }
  if (input.options.limits.any()) {
    return InvalidArgument(fmt::format("policy {} knows no limits on moves", policy));
  }
  return Status::Ok();
}

Status CheckNotCancelled(const PlanContext& context) {
  if (context.cancel != nullptr && context.cancel->cancelled()) {
    return Cancelled("the plan was cancelled");
  }
  return Status::Ok();
}

void ReadLayerBins(const LoadWindow& window, int layer_idx, Span2<double> bins) {
  for (int t = 0; t < window.shape().num_bins; ++t) {
    const std::span<double> row = bins.row(t);
    const std::span<const double> first = window.experts(t, 0, layer_idx);
    std::copy(first.begin(), first.end(), row.begin());
    for (int phase = 1; phase < window.shape().num_phases; ++phase) {
      const std::span<const double> loads = window.experts(t, phase, layer_idx);
      for (size_t e = 0; e < row.size(); ++e) {
        row[e] += loads[e];
      }
    }
  }
}

void PlanBuilder::Prepare(const Placement& current, const LoadShape& window_shape,
                          int num_workers) {
  workers_.resize(std::max<size_t>(workers_.size(), num_workers));
  const size_t num_experts = current.num_experts();
  for (Worker& worker : workers_) {
    worker.score.Reserve(current.num_experts());
    worker.sum.resize(num_experts);
    worker.bins.resize(window_shape.num_bins * num_experts);
  }
}

void PlanBuilder::Report(const PlanInput& input, int layer_idx, Plan& plan, Worker& worker) const {
  const Placement& before = *input.current;
  const Placement& after = plan.placement;
  const LoadWindow& window = input.history.back();
  const Span2<double> bins(worker.bins, window.shape().num_bins, window.shape().num_experts);
  ReadLayerBins(window, layer_idx, bins);
  std::fill(worker.sum.begin(), worker.sum.end(), 0.0);
  window.AddLayerTo(layer_idx, worker.sum);

  const RankCost& cost = input.options.rank_cost;
  const auto imbalance = [&](const Placement& placement) {
    return CostImbalance(bins, placement.slot_to_expert(layer_idx), placement.shares(layer_idx),
                         placement.topology(), cost, worker.score);
  };
  LayerReport& report = plan.layers[layer_idx];
  report.imbalance_before = imbalance(before);
  report.imbalance_after = imbalance(after);
  if (cost.is_tokens()) {
    report.lower_bound =
        LowerBound(worker.sum, after.topology(), input.options.split, worker.score);
  }
  report.moves = CountMoves(before, after, layer_idx);
}

void PlanBuilder::FitShares(const PlanInput& input, const Placement& placement, int layer_idx,
                            int worker_idx, std::span<double> shares) {
  Worker& worker = workers_[worker_idx];
  const std::span<const int32_t> slots = placement.slot_to_expert(layer_idx);
  if (placement.has_shares()) {
    const std::span<const double> planned = placement.shares(layer_idx);
    std::copy(planned.begin(), planned.end(), shares.begin());
  } else {
    std::fill(worker.sum.begin(), worker.sum.end(), 0.0);
    input.history.back().AddLayerTo(layer_idx, worker.sum);
    worker.shares.Prepare(placement.num_experts(), placement.topology());
    worker.shares.Solve(worker.sum, slots, placement.topology(), shares);
  }
  ChooseShares(input, layer_idx, slots, worker_idx, shares);
}

// Shares that are best for the tokens of all bins together need not be so bin by bin.
void PlanBuilder::ChooseShares(const PlanInput& input, int layer_idx,
                               std::span<const int32_t> slots, int worker_idx,
                               std::span<double> shares) {
  const LoadWindow& window = input.history.back();
  const RankCost& cost = input.options.rank_cost;
  if (window.shape().num_bins == 1 && cost.is_tokens()) return;
  Worker& worker = workers_[worker_idx];
  const Span2<double> bins(worker.bins, window.shape().num_bins, window.shape().num_experts);
  ReadLayerBins(window, layer_idx, bins);
  const auto imbalance = [&](std::span<const double> split) {
    return CostImbalance(bins, slots, split, input.topology(), cost, worker.score);
  };
  double least = imbalance(shares);
  if (const double even = imbalance({}); even < least) {
    least = even;
    for (size_t slot = 0; slot < slots.size(); ++slot) {
      shares[slot] = slots[slot] == kNoExpert ? 0.0 : 1.0 / worker.score.copies[slots[slot]];
    }
  }
  const Placement& current = *input.current;
  const std::span<const int32_t> in_force = current.slot_to_expert(layer_idx);
  if (current.has_shares() &&
      std::equal(slots.begin(), slots.end(), in_force.begin(), in_force.end()) &&
      imbalance(current.shares(layer_idx)) < least) {
    const std::span<const double> kept = current.shares(layer_idx);
    std::copy(kept.begin(), kept.end(), shares.begin());
  }
}

Result<Placement> PlanBuilder::WithShares(const PlanInput& input, const Placement& placement,
                                          const PlanContext& context) {
  const size_t num_slots = placement.num_slots();
  const std::span<const int32_t> slots = placement.slot_to_expert();
  std::vector<double> shares(slots.size());
  context.executor->Run(placement.num_layers(), [&](int layer_idx, int worker_idx) {
    if (!CheckNotCancelled(context).ok()) return;
    FitShares(input, placement, layer_idx, worker_idx,
              std::span<double>(shares).subspan(layer_idx * num_slots, num_slots));
  });
  STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
  return Placement::Create(placement.topology(), placement.num_experts(),
                           {slots.begin(), slots.end()}, DuplicateRule::kAllow, std::move(shares));
}

Result<Plan> PlanBuilder::Build(const PlanInput& input, Placement placement,
                                std::span<const LayerDecision> decisions, const PolicyState& state,
                                const PlanContext& context) {
  STEELYARD_CHECK_EQ(static_cast<int>(decisions.size()), placement.num_layers());
  Prepare(*input.current, input.history.back().shape(), context.executor->num_workers());
  if (input.options.split == SplitRule::kWeighted) {
    STEELYARD_ASSIGN_OR_RETURN(placement, WithShares(input, placement, context));
  }
  Plan plan{.placement = std::move(placement),
            .layers = std::vector<LayerReport>(decisions.size())};
  context.executor->Run(static_cast<int>(decisions.size()), [&](int layer_idx, int worker_idx) {
    if (CheckNotCancelled(context).ok()) {
      Report(input, layer_idx, plan, workers_[worker_idx]);
    }
  });
  STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
  for (size_t layer_idx = 0; layer_idx < decisions.size(); ++layer_idx) {
    LayerReport& report = plan.layers[layer_idx];
    const LayerDecision& decision = decisions[layer_idx];
    report.verdict = decision.verdict;
    report.limit = decision.limit;
    report.from_scratch = decision.from_scratch;
    report.wanted = decision.wanted;
    report.predictor = decision.predictor;
    plan.moves += report.moves;
  }
  plan.duplicates = plan.placement.CountDuplicates();
  plan.digest = PlanDigest(plan, state);
  return plan;
}

std::string_view LimitText(BindingLimit limit) {
  switch (limit) {
    case BindingLimit::kNone:
      break;
    case BindingLimit::kMoves:
      return "the limit on moves";
    case BindingLimit::kBytes:
      return "the limit on bytes";
    case BindingLimit::kRankPair:
      return "the limit on moves between two ranks";
    case BindingLimit::kReceivingRank:
      return "the limit on moves to a rank";
    case BindingLimit::kNodes:
      return "the limit on moves across nodes";
  }
  return "no limit";
}

std::vector<LayerDecision> DecisionsByComparison(const Placement& before, const Placement& after) {
  std::vector<LayerDecision> decisions(before.num_layers());
  for (int layer_idx = 0; layer_idx < before.num_layers(); ++layer_idx) {
    const std::span<const int32_t> old_row = before.slot_to_expert(layer_idx);
    const std::span<const int32_t> new_row = after.slot_to_expert(layer_idx);
    if (!std::equal(old_row.begin(), old_row.end(), new_row.begin(), new_row.end())) {
      decisions[layer_idx].verdict = LayerVerdict::kChanged;
    }
  }
  return decisions;
}

}  // namespace steelyard
