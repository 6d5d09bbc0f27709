#include "plan/steelyard_search.h"

#include "plan/steelyard_repair.h"

namespace steelyard {
namespace {

// More than paths take: where one is cut here all the same, the policy searches on from its best
// point.
constexpr size_t kMaxStepsPerRank = 8;
// Those of a swap. Where moves have a price, a step of so many that leaves its ranks no hotter than
// the bound need not be bettered.
constexpr double kMovesOfStep = 2.0;

}  // namespace

void PathSearch::Prepare(const LayerShape& shape) {
  max_steps_ = kMaxStepsPerRank * shape.num_ranks;
  path_.reserve(max_steps_);
}

void PathSearch::Run(const SearchOptions& options, LayerState& state) {
  path_.clear();
  const auto score = [&] { return state.Objective() + options.price * state.moves(); };
  double best_score = score();
  size_t best_length = 0;
  bool repairing = true;
  const double enough =
      options.price > 0.0 ? options.lower_bound + kMovesOfStep * options.price : 0.0;
  while (path_.size() < max_steps_) {
    state.ClearBlocked();
    // Neither this point nor any that takes more moves can be the best.
    if (options.lower_bound + options.price * state.moves() >= best_score) break;
    if (state.Objective() <= options.settled_at) break;
    Step step;
    if (repairing) {
      step = FindRepair(state, options.heaviest_copy);
      repairing = step.is_some();
    }
    if (!repairing) {
      step = cooling_.Find(state, options.price, enough);
      if (!step.is_some()) break;
    }
    path_.push_back(step);
    state.Apply(step);
    if (score() < best_score) {
      best_score = score();
      best_length = path_.size();
    }
  }
  while (path_.size() > best_length) {
    state.Undo(path_.back());
    path_.pop_back();
  }
}

}  // namespace steelyard
