#include "plan/steelyard_layer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

// An expert lacks copies when each is this much heavier than the best counts need, and heavy enough
// to be hard to place: against the load of a mean rank.
constexpr double kHeavyAgainstBest = 1.2;
constexpr double kHeavyOnRank = 0.3;
// A round of refinement; the next one goes on.
constexpr int kMaxBinwiseSteps = 60;
// Hedges: bins like all of the forecast together but with less on the heaviest experts, none above
// these parts of the heaviest one; what they weigh, of the forecast; and the load against a mean
// rank's from which an expert matters.
constexpr std::array<double, 2> kHedgeCaps = {0.7, 0.49};
constexpr double kHedgeWeight = 0.1;
constexpr double kHedgedOnRank = 0.5;

}  // namespace

void LayerPlanner::Prepare(const LayerShape& shape, const Topology& topology) {
  topology_ = &topology;
  shape_ = shape;
  shape_.topology = topology.is_plain() ? nullptr : &topology;
  fitter_.Prepare(shape_, topology);
  ledger_.Prepare(shape_, topology);
  placer_.Prepare(shape_);
  labeller_.Prepare(shape_);
  score_.Reserve(shape.num_experts);
  path_.Prepare(shape_);
  weighted_.Prepare(shape_, topology);
  fitted_.assign(shape.num_slots(), 0);
  slots_.assign(shape.num_slots(), 0);
  best_slots_.assign(shape.num_slots(), 0);
  in_state_.assign(shape.num_slots(), 0);
  repaired_.assign(shape.num_slots(), 0);
  copies_.assign(shape.num_experts, 0);
  best_copies_.assign(shape.num_experts, 0);
  unhedged_.assign(shape.num_slots(), 0);
  extra_bins_.assign(static_cast<size_t>(shape.num_bins + kMaxExtraBins) * shape.num_experts, 0.0);
  sum_.assign(shape.num_experts, 0.0);
  static_assert(kHedgeCaps.size() <= kMaxExtraBins);
  SetNumBins(shape.num_bins + kMaxExtraBins);
  SetNumBins(shape.num_bins);
  cost_.Prepare(shape_, topology);
}

double LayerPlanner::PriceOfMove(double price, const Topology& topology, int num_experts) {
  const bool is_redundant = topology.num_live_slots() > num_experts;
  return (is_redundant ? 1.0 : 0.5) * price / topology.num_live_slots();
}

// Nothing allocates for no more bins than before.
void LayerPlanner::SetNumBins(int num_bins) {
  shape_.num_bins = num_bins;
  state_.Prepare(shape_);
  binwise_.Prepare(shape_);
}

Result<LayerDecision> LayerPlanner::Plan(const LayerTask& task, std::span<int32_t> slot_to_expert) {
  const int num_bins = static_cast<int>(task.bins.num_rows());
  if (num_bins != shape_.num_bins) SetNumBins(num_bins);
  limiting_ = task.limits != nullptr ? &ledger_ : nullptr;
  state_.Follow(nullptr);
  state_.LogTo(nullptr);
  log_.clear();
  price_ = 0.0;
  limit_ = BindingLimit::kNone;
  // Without redundancy there is nothing to share. Shares that are best for several bins together
  // need not be so bin by bin, nor by another cost: there the search is that for an even split,
  // which the shares then better.
  is_costed_ = !task.cost.is_tokens();
  is_weighted_ = task.split == SplitRule::kWeighted && shape_.num_bins == 1 && !is_costed_ &&
                 shape_.num_live_slots() > shape_.num_experts;
  weighted_.Begin(fitter_);
  if (is_costed_) {
    cost_.Prepare(shape_, *topology_);
    cost_.Begin(task.bins, task.bin_weights, task.cost);
  }
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
  if (decision.limit == BindingLimit::kNone) {
    decision.limit = fitter_.duplicate_limit();
    if (decision.limit != BindingLimit::kNone) decision.verdict = LayerVerdict::kKeptByLimit;
  }
  if (!same) decision.verdict = LayerVerdict::kChanged;
  return decision;
}

void LayerPlanner::ComputeBound(SplitRule split) {
  // Speeds are by their mean here, and what is no heavier than this is never in the way.
  const double mean_speed = topology_->total_speed() / topology_->num_live_ranks();
  constexpr double kFloor = kHeavyOnRank / kHeavyAgainstBest * LayerState::kMeanLoad;
  tau_ =
      mean_speed * PeakTime(state_.expert_loads(), *topology_, split, kFloor / mean_speed, score_);
  lower_bound_ = std::max(LayerState::kMeanLoad, tau_);
}

LayerDecision LayerPlanner::PlanFitted(const LayerTask& task, std::span<int32_t> slot_to_expert) {
  ComputeBound(task.split);
  // The bound is one of tokens: with another cost there is no certificate but the level itself.
  if (is_costed_) lower_bound_ = LayerState::kMeanLoad;
  const double settled_at = lower_bound_ + task.gate * LayerState::kMeanLoad;
  // More than one move costs is lost on no imbalance there is: the largest is num_ranks.
  const double price = PriceOfMove(task.price, *topology_, shape_.num_experts);
  price_ = LayerState::Whole(LayerState::kMeanLoad * std::min(price, 1.0 * shape_.num_ranks));
  LayerDecision decision = {.verdict = LayerVerdict::kKeptByBound};
  const double objective = Objective();
  const bool settled = objective <= settled_at;
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
    decision.gain = (objective - Objective()) / LayerState::kMeanLoad;
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
  if (!Improve(task, settled_at)) log_.clear();
  state_.LogTo(nullptr);
  state_.Follow(nullptr);
}

// With several bins, hedged: the next loads are like these, but the heaviest experts may be less
// so, and then other ranks decide. Where an expert alone fills the hottest rank, only this says how
// the others should be. False where that would make the forecast itself worse: then nothing
// changes.
bool LayerPlanner::Improve(const LayerTask& task, double settled_at) {
  const double objective = Objective();
  const bool is_hedged =
      objective > settled_at && shape_.num_bins > 1 && !is_weighted_ && !is_costed_;
  const Span2<const double> hedged = is_hedged ? AddHedges(task.bins) : task.bins;
  if (hedged.num_rows() == task.bins.num_rows()) {
    ImproveUntilSettled(settled_at);
    return true;
  }
  state_.WriteSlots(fitted_, unhedged_);
  ChangeLoads(hedged, task.split, unhedged_);
  ImproveUntilSettled(lower_bound_ + task.gate * LayerState::kMeanLoad);
  state_.WriteSlots(fitted_, slots_);
  ChangeLoads(task.bins, task.split, slots_);
  if (Objective() <= objective) return true;
  state_.Assign(unhedged_);
  return false;
}

// Into `sum_`; returns all tokens.
double LayerPlanner::SumBins(Span2<const double> bins) {
  std::fill(sum_.begin(), sum_.end(), 0.0);
  double tokens = 0.0;
  for (size_t t = 0; t < bins.num_rows(); ++t) {
    for (size_t e = 0; e < bins.num_cols(); ++e) {
      sum_[e] += bins.row(t)[e];
      tokens += bins.row(t)[e];
    }
  }
  return tokens;
}

// `bins` and the hedges that say something.
Span2<const double> LayerPlanner::AddHedges(Span2<const double> bins) {
  const size_t num_experts = shape_.num_experts;
  const double tokens = SumBins(bins);
  std::copy(bins.flat().begin(), bins.flat().end(), extra_bins_.begin());
  const double heaviest = *std::max_element(sum_.begin(), sum_.end());
  size_t num_rows = bins.num_rows();
  for (const double part : kHedgeCaps) {
    const double cap = part * heaviest;
    if (cap <= kHedgedOnRank * tokens / shape_.num_live_ranks()) break;
    double* row = extra_bins_.data() + num_rows++ * num_experts;
    for (size_t e = 0; e < num_experts; ++e) row[e] = kHedgeWeight * std::min(sum_[e], cap);
  }
  return {extra_bins_.data(), num_rows, num_experts};
}

// Other loads: what is held has to be assigned anew.
void LayerPlanner::TakeLoads(Span2<const double> bins, SplitRule split) {
  SetNumBins(static_cast<int>(bins.num_rows()));
  state_.SetLoads(bins);
  ComputeBound(split);
}

// Goes on with other loads, and counts moves from `slots`.
void LayerPlanner::ChangeLoads(Span2<const double> bins, SplitRule split,
                               std::span<const int32_t> slots) {
  TakeLoads(bins, split);
  state_.Assign(slots);
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
    SearchAllBins(price_, lower_bound_, settled_at);
    SearchBinwise(price_);
  }
}

// For an even split of all bins together.
void LayerPlanner::SearchAllBins(double price, double lower_bound, double settled_at) {
  path_.Run({.price = price,
             .lower_bound = lower_bound,
             .settled_at = settled_at,
             .heaviest_copy = kHeavyAgainstBest * tau_},
            state_);
  limit_ = state_.blocked();
}

// Goes on from there, where there are several bins.
void LayerPlanner::SearchBinwise(double price) {
  if (shape_.num_bins == 1) return;
  binwise_.Run(price, kMaxBinwiseSteps, state_);
  if (limit_ == BindingLimit::kNone) limit_ = state_.blocked();
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
