#include "plan/steelyard_layer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "steelyard/placement/placement.h"

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
// All of them where they are no more than these.
constexpr int64_t kMaxCounts = 2000;
// A round of refinement; the next one goes on.
constexpr int kMaxBinwiseSteps = 60;

/// Ways to deal `spare` copies to experts, with no regard to ranks. Requires: a small layer.
int64_t NumCounts(int num_experts, int spare) {
  int64_t count = 1;
  for (int i = 1; i <= spare; ++i) count = count * (num_experts - 1 + i) / i;
  return count;
}

}  // namespace

void LayerPlanner::Prepare(const LayerShape& shape, const Topology& topology) {
  topology_ = &topology;
  shape_ = shape;
  shape_.topology = topology.is_plain() ? nullptr : &topology;
  state_.Prepare(shape_);
  fitter_.Prepare(shape_, topology);
  ledger_.Prepare(shape_, topology);
  placer_.Prepare(shape_);
  labeller_.Prepare(shape_);
  binwise_.Prepare(shape_);
  score_.Reserve(shape.num_experts);
  path_.Prepare(shape_);
  weighted_.Prepare(shape_, topology);
  cost_.Prepare(shape_, topology);
  fitted_.assign(shape.num_slots(), 0);
  slots_.assign(shape.num_slots(), 0);
  best_slots_.assign(shape.num_slots(), 0);
  in_state_.assign(shape.num_slots(), 0);
  repaired_.assign(shape.num_slots(), 0);
  copies_.assign(shape.num_experts, 0);
  best_copies_.assign(shape.num_experts, 0);
}

void LayerPlanner::SetNumBins(int num_bins) {
  shape_.num_bins = num_bins;
  state_.Prepare(shape_);
  binwise_.Prepare(shape_);
  cost_.Prepare(shape_, *topology_);
}

Result<LayerDecision> LayerPlanner::Plan(const LayerTask& task, std::span<int32_t> slot_to_expert) {
  limiting_ = task.limits != nullptr ? &ledger_ : nullptr;
  state_.Follow(nullptr);
  state_.LogTo(nullptr);
  log_.clear();
  price_ = 0.0;
  limit_ = BindingLimit::kNone;
  // Without redundancy there is nothing to share. Shares that are best for several bins together
  // need not be so bin by bin: there the search is that for an even split, which the shares then
  // better.
  is_weighted_ = task.split == SplitRule::kWeighted && shape_.num_bins == 1 &&
                 shape_.num_live_slots() > shape_.num_experts;
  weighted_.Begin(fitter_);
  is_costed_ = !task.cost.is_tokens();
  if (is_costed_) cost_.Begin(task.bins, task.bin_tokens, task.cost);
  if (limiting_ != nullptr) ledger_.Begin(*task.limits, task.in_force);
  const bool has_load = state_.SetLoads(task.bins);
  STEELYARD_RETURN_IF_ERROR(
      fitter_.Fit(state_.expert_loads(), task.in_force, limiting_, task.max_replaced, fitted_));
  state_.Assign(fitted_);
  LayerDecision decision = {.verdict = LayerVerdict::kKeptByBound};
  if (has_load) {
    decision = PlanFitted(task, slot_to_expert);
  } else {
    WriteSlots(slot_to_expert);
  }
  if (task.curve != nullptr) WriteCurve(decision, *task.curve);
  const bool same =
      task.in_force.slots_per_rank == shape_.slots_per_rank &&
      std::equal(task.in_force.slot_to_expert.begin(), task.in_force.slot_to_expert.end(),
                 slot_to_expert.begin(), slot_to_expert.end());
  if (!same) decision.verdict = LayerVerdict::kChanged;
  return decision;
}

LayerDecision LayerPlanner::PlanFitted(const LayerTask& task, std::span<int32_t> slot_to_expert) {
  // Speeds are by their mean here, and what is no heavier than this is never in the way.
  const double mean_speed = topology_->total_speed() / topology_->num_live_ranks();
  constexpr double kFloor = kHeavyOnRank / kHeavyAgainstBest * LayerState::kMeanLoad;
  tau_ = mean_speed *
         PeakTime(state_.expert_loads(), *topology_, task.split, kFloor / mean_speed, score_);
  lower_bound_ = std::max(LayerState::kMeanLoad, tau_);
  double settled_at = lower_bound_ + task.gate * LayerState::kMeanLoad;
  // The bound is one of tokens: with another cost there is no certificate but the level itself.
  if (is_costed_) settled_at = lower_bound_ = LayerState::kMeanLoad;
  // More than one move costs is lost on no imbalance there is: the largest is num_ranks.
  price_ = LayerState::Whole(LayerState::kMeanLoad * std::min(task.price / shape_.num_live_slots(),
                                                              1.0 * shape_.num_ranks));
  LayerDecision decision = {.verdict = LayerVerdict::kKeptByBound};
  const bool settled = Objective() <= settled_at;
  bool anew = !settled && (task.from_scratch || IsContiguous(fitted_));
  if (!settled && !anew) {
    RepairFitted(task, settled_at);
    decision.limit = limit_;
  }
  if (!anew) {
    WriteSlots(slot_to_expert);
    // A search may end at the contiguous layout, from which the next plan would start anew: then so
    // does this one.
    anew = !settled && IsContiguous(slot_to_expert) && Objective() > settled_at;
  }
  if (anew) {
    decision.from_scratch = PlanFromScratch(task, settled_at);
    decision.limit = limit_;
    WriteSlots(slot_to_expert);
  }
  if (!settled) {
    decision.verdict = decision.limit == BindingLimit::kNone ? LayerVerdict::kKeptByPrice
                                                             : LayerVerdict::kKeptByLimit;
  }
  return decision;
}

bool LayerPlanner::IsContiguous(std::span<const int32_t> slot_to_expert) const {
  int place = 0;
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    if (shape_.topology != nullptr && !shape_.topology->is_live_slot(slot)) continue;
    if (slot_to_expert[slot] != place++ % shape_.num_experts) return false;
  }
  return true;
}

/// Searches from what is in force, within the limits.
void LayerPlanner::RepairFitted(const LayerTask& task, double settled_at) {
  if (limiting_ != nullptr) {
    state_.Follow(limiting_);
    if (task.curve != nullptr) state_.LogTo(&log_);
  }
  ImproveUntilSettled(settled_at);
  state_.LogTo(nullptr);
  state_.Follow(nullptr);
}

// Not priced. True where the plan from nothing is taken.
bool LayerPlanner::PlanFromScratch(const LayerTask& task, double settled_at) {
  if (limiting_ == nullptr) {
    const bool better = PlaceFromScratch(task.in_force);
    ImproveUntilSettled(settled_at);
    return better;
  }
  // What repair can do serves where a limit forbids the plan from nothing, of the layer or of all.
  log_.clear();
  ledger_.Assign(fitted_);
  state_.Assign(fitted_);
  RepairFitted(task, settled_at);
  state_.WriteSlots(fitted_, repaired_);
  if (fitter_.kept_duplicates().empty()) {
    state_.Assign(fitted_);
    if (PlaceFromScratch(task.in_force)) {
      ImproveUntilSettled(settled_at);
      state_.WriteSlots(fitted_, slots_);
      ledger_.Assign(slots_);
      ledger_.ClearBlocked();
      if (ledger_.IsWithin()) {
        limit_ = BindingLimit::kNone;
        scratch_moves_ = ledger_.moves();
        return true;
      }
      limit_ = ledger_.blocked();
    }
  }
  state_.Assign(repaired_);
  return false;
}

// False, with the state as it was but for its base, where that is no better than what is in force.
bool LayerPlanner::PlaceFromScratch(const RowInForce& in_force) {
  state_.WriteSlots(fitted_, in_state_);
  const double close_enough = lower_bound_ + kCloseEnough * LayerState::kMeanLoad;
  const double level = Objective();
  // The best even split of tokens serves as a start for other objectives.
  best_objective_ = is_weighted_ || is_costed_ ? std::numeric_limits<double>::infinity() : level;
  Apportion(state_.expert_loads(), shape_.num_live_ranks(), shape_.num_live_slots(), copies_,
            score_);
  bool better = TryCounts();
  if (shape_.num_slots() <= kMaxSlotsForCounts && best_objective_ > close_enough) {
    const int spare = shape_.num_live_slots() - shape_.num_experts;
    if (NumCounts(shape_.num_experts, spare) <= kMaxCounts) {
      better = TryAllCounts(0, spare, close_enough) || better;
    } else {
      better = TryFillers() || better;
      better = TryNeighbouringCounts() || better;
    }
  }
  if (better) {
    labeller_.Label(in_force, best_slots_);
  }
  state_.Assign(better ? best_slots_ : in_state_);
  if ((is_weighted_ || is_costed_) && Objective() >= level) {
    state_.Assign(in_state_);
    better = false;
  }
  return better;
}

// Places `copies_` and searches from there; true where that is the best so far.
bool LayerPlanner::TryCounts() {
  placer_.Place(state_.expert_loads(), copies_, slots_);
  state_.Assign(slots_);
  const double close_enough = lower_bound_ + kCloseEnough * LayerState::kMeanLoad;
  SearchEvenSplit(0.0, close_enough, close_enough);
  if (state_.Objective() >= best_objective_) {
    return false;
  }
  best_objective_ = state_.Objective();
  state_.WriteSlots(slots_, best_slots_);
  return true;
}

// Every way to give `spare` more copies to the experts from `expert` on.
bool LayerPlanner::TryAllCounts(int expert, int spare, double close_enough) {
  const int most = std::min(spare, shape_.num_live_ranks() - 1);
  const bool is_last = expert + 1 == shape_.num_experts;
  bool better = false;
  for (int extra = is_last ? spare : 0; extra <= most; ++extra) {
    if (best_objective_ <= close_enough) break;
    copies_[expert] = 1 + extra;
    const bool found =
        is_last ? TryCounts() : TryAllCounts(expert + 1, spare - extra, close_enough);
    better = found || better;
  }
  return better;
}

// A copy of a heavy expert in every slot that is over may leave no rank without one; where a rank
// could carry a heavier copy if nothing but light ones stood beside it, more copies of these are
// better. Leaves the best counts in `copies_`.
bool LayerPlanner::TryFillers() {
  bool better = false;
  best_copies_ = copies_;
  for (int fillers = 1; fillers <= shape_.num_live_slots() - shape_.num_experts; ++fillers) {
    Apportion(state_.expert_loads(), shape_.num_live_ranks(), shape_.num_live_slots() - fillers,
              copies_, score_);
    for (int i = 0; i < fillers; ++i) ++copies_[LightestExpertWithRoom()];
    if (!TryCounts()) continue;
    better = true;
    best_copies_ = copies_;
  }
  copies_ = best_copies_;
  return better;
}

int32_t LayerPlanner::LightestExpertWithRoom() const {
  int32_t lightest = -1;
  for (int32_t expert = 0; expert < shape_.num_experts; ++expert) {
    if (copies_[expert] == shape_.num_live_ranks()) continue;
    const bool is_lighter =
        lightest < 0 || state_.expert_loads()[expert] < state_.expert_loads()[lightest];
    if (is_lighter) lightest = expert;
  }
  return lightest;
}

// With few slots the counts decide more than their largest load tells: every one copy is tried
// elsewhere, and stays where that is better, until none is.
bool LayerPlanner::TryNeighbouringCounts() {
  bool better = false;
  for (bool improved = true; improved;) {
    improved = false;
    for (int from = 0; from < shape_.num_experts; ++from) {
      for (int to = 0; to < shape_.num_experts; ++to) {
        if (to == from || copies_[from] == 1 || copies_[to] == shape_.num_live_ranks()) continue;
        --copies_[from];
        ++copies_[to];
        if (TryCounts()) {
          better = improved = true;
          continue;
        }
        ++copies_[from];
        --copies_[to];
      }
    }
  }
  return better;
}

void LayerPlanner::ImproveUntilSettled(double settled_at) {
  limit_ = BindingLimit::kNone;
  while (Objective() > settled_at) {
    Search(settled_at);
    if (state_.moves() == 0) return;
    state_.SetBase();
  }
}

double LayerPlanner::Objective() {
  if (is_costed_) return cost_.Objective(state_);
  return is_weighted_ ? weighted_.Level(state_) : state_.Objective();
}

void LayerPlanner::Search(double settled_at) {
  if (is_costed_) {
    cost_.Run(price_, state_);
    limit_ = state_.blocked();
  } else if (is_weighted_) {
    weighted_.Run(price_, lower_bound_, state_);
    limit_ = state_.blocked();
  } else {
    SearchEvenSplit(price_, lower_bound_, settled_at);
  }
}

void LayerPlanner::SearchEvenSplit(double price, double lower_bound, double settled_at) {
  path_.Run({.price = price,
             .lower_bound = lower_bound,
             .settled_at = settled_at,
             .heaviest_copy = kHeavyAgainstBest * tau_},
            state_);
  limit_ = state_.blocked();
  if (shape_.num_bins > 1) {
    binwise_.Run(price, kMaxBinwiseSteps, state_);
    if (limit_ == BindingLimit::kNone) limit_ = state_.blocked();
  }
}

void LayerPlanner::WriteSlots(std::span<int32_t> slot_to_expert) {
  state_.WriteSlots(fitter_.reference(), slot_to_expert);
  fitter_.Finish(slot_to_expert);
}

void LayerPlanner::WriteCurve(const LayerDecision& decision, LayerCurve& curve) {
  const std::span<const int32_t> reference = fitter_.reference();
  const std::span<const KeptDuplicate> duplicates = fitter_.kept_duplicates();
  curve.reference.assign(reference.begin(), reference.end());
  curve.start = fitted_;
  curve.kept_duplicates.assign(duplicates.begin(), duplicates.end());
  curve.steps = log_;
  curve.price = price_;
  curve.num_replaced = fitter_.num_replaced();
  curve.has_scratch = decision.from_scratch;
  curve.scratch = {.objective = Objective(), .moves = scratch_moves_};
  curve.points.clear();
  ledger_.Assign(fitted_);
  state_.Assign(fitted_);
  state_.Follow(&ledger_);
  curve.points.push_back({.objective = Objective(), .moves = ledger_.moves()});
  for (const Step& step : log_) {
    state_.Apply(step);
    curve.points.push_back({.objective = Objective(), .moves = ledger_.moves()});
  }
  state_.Follow(nullptr);
}

}  // namespace steelyard
