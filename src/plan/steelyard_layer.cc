#include "plan/steelyard_layer.h"

#include <algorithm>
#include <utility>

namespace steelyard {
namespace {

// A plan from nothing this close to the bound, in imbalance, is not polished further: forecasts are
// never this good.
constexpr double kCloseEnough = 0.0005;
// An expert lacks copies when each is this much heavier than the best counts need, and heavy enough
// to be hard to place: against the load of a mean rank.
constexpr double kHeavyAgainstBest = 1.2;
constexpr double kHeavyOnRank = 0.3;
// Up to this many slots, other counts than the best are placed too.
constexpr int kMaxSlotsForCounts = 16;
// A round of refinement; the next one goes on.
constexpr int kMaxBinwiseSteps = 60;

}  // namespace

void LayerPlanner::Prepare(const LayerShape& shape) {
  shape_ = shape;
  state_.Prepare(shape);
  placer_.Prepare(shape);
  labeller_.Prepare(shape);
  binwise_.Prepare(shape);
  score_.Reserve(shape.num_experts);
  path_.Prepare(shape);
  slots_.assign(shape.num_slots(), 0);
  best_slots_.assign(shape.num_slots(), 0);
  copies_.assign(shape.num_experts, 0);
  held_by_.assign(shape.num_experts, -1);
}

LayerDecision LayerPlanner::Plan(const LayerTask& task, std::span<int32_t> slot_to_expert) {
  std::copy(task.current.begin(), task.current.end(), slot_to_expert.begin());
  const bool has_load = state_.SetLoads(task.bins);
  ReplaceDuplicates(slot_to_expert);
  const bool repaired =
      !std::equal(task.current.begin(), task.current.end(), slot_to_expert.begin());
  const auto kept = [&](LayerVerdict verdict) {
    return LayerDecision{.verdict = repaired ? LayerVerdict::kChanged : verdict};
  };
  if (!has_load) {
    return kept(LayerVerdict::kKeptByBound);
  }
  tau_ = Apportion(state_.expert_loads(), shape_.num_ranks, shape_.num_slots(), copies_, score_);
  lower_bound_ = std::max(LayerState::kMeanLoad, tau_);
  const double settled_at = lower_bound_ + task.gate * LayerState::kMeanLoad;
  state_.Assign(slot_to_expert);
  const double before = state_.Objective();
  if (before <= settled_at) {
    return kept(LayerVerdict::kKeptByBound);
  }
  // More than one move costs is lost on no imbalance there is: the largest is num_ranks.
  const double price = LayerState::Whole(
      LayerState::kMeanLoad * std::min(task.price / shape_.num_slots(), 1.0 * shape_.num_ranks));
  bool from_scratch = false;
  // A search may end at the contiguous layout, from which the next plan would start anew: then so
  // does this one.
  if (!IsContiguous(slot_to_expert)) {
    ImproveUntilSettled(price, settled_at);
    state_.WriteSlots(task.current, slot_to_expert);
  }
  if (IsContiguous(slot_to_expert) && state_.Objective() > settled_at) {
    from_scratch = PlanFromScratch(slot_to_expert);
    ImproveUntilSettled(price, settled_at);
    state_.WriteSlots(task.current, slot_to_expert);
  }
  if (std::equal(task.current.begin(), task.current.end(), slot_to_expert.begin())) {
    return {.verdict = LayerVerdict::kKeptByPrice};
  }
  return {.verdict = LayerVerdict::kChanged, .from_scratch = from_scratch};
}

// A second copy on a rank relieves nobody. Its slot goes to the expert with the largest load per
// copy that the rank lacks.
void LayerPlanner::ReplaceDuplicates(std::span<int32_t> slot_to_expert) {
  std::fill(copies_.begin(), copies_.end(), 0);
  std::fill(held_by_.begin(), held_by_.end(), -1);
  int duplicates = 0;
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    const int32_t expert = slot_to_expert[slot];
    const int rank = slot / shape_.slots_per_rank;
    if (std::exchange(held_by_[expert], rank) == rank) {
      ++duplicates;
    } else {
      ++copies_[expert];
    }
  }
  for (int rank = 0; duplicates > 0 && rank < shape_.num_ranks; ++rank) {
    const std::span<int32_t> held =
        slot_to_expert.subspan(rank * shape_.slots_per_rank, shape_.slots_per_rank);
    for (size_t i = 1; i < held.size(); ++i) {
      const auto upto = held.begin() + static_cast<ptrdiff_t>(i);
      if (std::find(held.begin(), upto, held[i]) == upto) continue;
      held[i] = HeaviestCopyOutside(held);
      ++copies_[held[i]];
      --duplicates;
    }
  }
}

int32_t LayerPlanner::HeaviestCopyOutside(std::span<const int32_t> held) const {
  int32_t heaviest = -1;
  double most = 0.0;
  for (int32_t expert = 0; expert < shape_.num_experts; ++expert) {
    const double load = state_.expert_loads()[expert] / copies_[expert];
    if (heaviest >= 0 && load <= most) continue;
    if (std::find(held.begin(), held.end(), expert) != held.end()) continue;
    heaviest = expert;
    most = load;
  }
  return heaviest;
}

bool LayerPlanner::IsContiguous(std::span<const int32_t> slot_to_expert) const {
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    if (slot_to_expert[slot] != slot % shape_.num_experts) return false;
  }
  return true;
}

// False, with the state as it was, where that is no better than what is in force.
bool LayerPlanner::PlanFromScratch(std::span<const int32_t> current) {
  const double close_enough = lower_bound_ + kCloseEnough * LayerState::kMeanLoad;
  best_objective_ = state_.Objective();
  bool better = TryCounts();
  if (shape_.num_slots() <= kMaxSlotsForCounts && best_objective_ > close_enough) {
    better = TryNeighbouringCounts() || better;
  }
  if (better) {
    labeller_.Label(current, best_slots_);
  }
  state_.Assign(better ? std::span<const int32_t>(best_slots_) : current);
  return better;
}

// Places `copies_` and searches from there; true where that is the best so far.
bool LayerPlanner::TryCounts() {
  placer_.Place(state_.expert_loads(), copies_, slots_);
  state_.Assign(slots_);
  Search(0.0, lower_bound_ + kCloseEnough * LayerState::kMeanLoad);
  if (state_.Objective() >= best_objective_) {
    return false;
  }
  best_objective_ = state_.Objective();
  state_.WriteSlots(slots_, best_slots_);
  return true;
}

// With few slots the counts decide more than their largest load tells: every one copy is tried
// elsewhere.
bool LayerPlanner::TryNeighbouringCounts() {
  bool better = false;
  for (int from = 0; from < shape_.num_experts; ++from) {
    if (copies_[from] == 1) continue;
    for (int to = 0; to < shape_.num_experts; ++to) {
      if (to == from || copies_[to] == shape_.num_ranks) continue;
      --copies_[from];
      ++copies_[to];
      better = TryCounts() || better;
      ++copies_[from];
      --copies_[to];
    }
  }
  return better;
}

// Each round counts moves from where the last one ended, which can only make a step dearer, so what
// a round gains it has gained over the placement in force too; the loop ends at a placement from
// which a round, and so the next plan, changes nothing.
void LayerPlanner::ImproveUntilSettled(double price, double settled_at) {
  while (state_.Objective() > settled_at) {
    Search(price, lower_bound_);
    if (state_.moves() == 0) return;
    state_.SetBase();
  }
}

void LayerPlanner::Search(double price, double lower_bound) {
  path_.Run(
      {.price = price,
       .lower_bound = lower_bound,
       .heaviest_copy = std::max(kHeavyAgainstBest * tau_, kHeavyOnRank * LayerState::kMeanLoad)},
      state_);
  if (shape_.num_bins > 1) {
    binwise_.Run(price, kMaxBinwiseSteps, state_);
  }
}

}  // namespace steelyard
