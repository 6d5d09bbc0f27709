// The part of LayerPlanner that plans a layer from nothing.
#include <algorithm>
#include <limits>

#include "plan/steelyard_layer.h"

namespace steelyard {
namespace {

// A plan from nothing this close to the bound, in imbalance, is not polished further: forecasts are
// never this good.
constexpr double kCloseEnough = 0.0005;
// Gains of no more than this are rounding.
constexpr double kNothing = 1e-6 * LayerState::kMeanLoad;
// Up to this many slots, other counts than the best are placed too.
constexpr int kMaxSlotsForCounts = 16;
// All of them where they are no more than these.
constexpr int64_t kMaxCounts = 2000;
// Counts are searched bin by bin where all bins together leave them this close to the best.
constexpr double kCloseToBest = 1.02;
// A plan from nothing is also made for loads that nobody has seen yet, of which no more is known
// than that they are an expert's as likely as another's: so many of them for one of those at hand.
constexpr double kUnseen = 0.1;
// Steps towards them: most of what there is to win is won by the first.
constexpr int kUnseenStepsPerBin = 10;

/// Ways to deal `spare` copies to experts, with no regard to ranks. Requires: a small layer.
int64_t NumCounts(int num_experts, int spare) {
  int64_t count = 1;
  for (int i = 1; i <= spare; ++i) count = count * (num_experts - 1 + i) / i;
  return count;
}

}  // namespace

// Not priced. True where the plan from nothing is taken.
bool LayerPlanner::PlanFromScratch(const LayerTask& task, double settled_at) {
  if (limiting_ == nullptr) {
    const bool better = PlaceFromScratch(task);
    Improve(task, settled_at);
    return better;
  }
  // What repair can do serves where a limit forbids the plan from nothing, of the layer or of all.
  log_.clear();
  ledger_.Assign(fitted_);
  state_.Assign(fitted_);
  RepairFitted(task, settled_at);
  BindingLimit limit = limit_;
  state_.WriteSlots(fitted_, repaired_);
  if (fitter_.kept_duplicates().empty()) {
    state_.Assign(fitted_);
    if (PlaceFromScratch(task)) {
      Improve(task, settled_at);
      state_.WriteSlots(fitted_, slots_);
      ledger_.Assign(slots_);
      ledger_.ClearBlocked();
      if (ledger_.IsWithin()) {
        limit_ = BindingLimit::kNone;
        scratch_moves_ = ledger_.moves();
        return true;
      }
      limit = ledger_.blocked();
    }
  }
  limit_ = limit;
  state_.Assign(repaired_);
  return false;
}

// False, with the state as it was but for its base, where that is no better than what is in force.
bool LayerPlanner::PlaceFromScratch(const LayerTask& task) {
  state_.WriteSlots(fitted_, in_state_);
  const double level = Objective() - kNothing;
  // The best even split of tokens serves as a start for other objectives.
  const bool is_start = is_weighted_ || is_costed_;
  if (!is_start && shape_.num_slots() > kMaxSlotsForCounts) {
    PlaceForUnseen(task);
    if (Objective() < level) return true;
  }
  best_objective_ = is_start ? std::numeric_limits<double>::infinity() : level;
  if (TryManyCounts()) {
    labeller_.Label(task.in_force, best_slots_);
    state_.Assign(best_slots_);
    if (Objective() < level) return true;
  }
  state_.Assign(in_state_);
  return false;
}

// A plan for all loads together, the unseen ones among them, made better bin by bin.
void LayerPlanner::PlaceForUnseen(const LayerTask& task) {
  const int num_bins = shape_.num_bins;
  const Span2<double> bins(extra_bins_.data(), num_bins + 1, shape_.num_experts);
  std::copy(task.bins.flat().begin(), task.bins.flat().end(), extra_bins_.begin());
  const double unseen = kUnseen * SumBins(task.bins) / shape_.num_experts;
  std::fill(bins.row(num_bins).begin(), bins.row(num_bins).end(), unseen);
  for (double& load : sum_) load += unseen;

  TakeLoads({sum_.data(), 1, sum_.size()}, task.split);
  best_objective_ = std::numeric_limits<double>::infinity();
  TryManyCounts();
  SetNumBins(num_bins + 1);
  state_.SetLoads(bins);
  state_.Assign(best_slots_);
  binwise_.Run(0.0, kUnseenStepsPerBin * num_bins, state_);
  state_.WriteSlots(slots_, best_slots_);
  labeller_.Label(task.in_force, best_slots_);
  ChangeLoads(task.bins, task.split, best_slots_);
}

// True where the best is better than `best_objective_`.
bool LayerPlanner::TryManyCounts() {
  const double close_enough = lower_bound_ + kCloseEnough * LayerState::kMeanLoad;
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
  return better;
}

// Places `copies_` and searches from there; true where that is the best so far.
bool LayerPlanner::TryCounts() {
  placer_.Place(state_.expert_loads(), copies_, slots_);
  state_.Assign(slots_);
  const double close_enough = lower_bound_ + kCloseEnough * LayerState::kMeanLoad;
  SearchAllBins(0.0, close_enough, close_enough);
  if (state_.Objective() < kCloseToBest * best_objective_) SearchBinwise(0.0);
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

}  // namespace steelyard
