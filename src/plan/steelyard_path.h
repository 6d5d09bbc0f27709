// What the searches of the `steelyard` policy have in common: a path of steps that may lead through
// worse placements, cut where it was best.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// One object per search. After Prepare() nothing allocates.
class StepPath {
 public:
  void Prepare(size_t max_steps) {
    max_steps_ = max_steps;
    max_past_best_ = kMinPastBest + max_steps / 8;
    steps_.reserve(max_steps);
  }

  /// Takes the steps that `find_step()` returns, one after another, until that is none, and leaves
  /// `state` at the point of this path where objective + price x moves was least: where it was, if
  /// no point was better. What limits were in the way from there on is what is blocked() then.
  /// `objective()` is that of the state as it is then, and no lower than
  /// `lower_bound` is asked for; `price` is that of a move, all in units of load.
  template <typename Objective, typename FindStep>
  void Follow(double price, double lower_bound, LayerState& state, Objective objective,
              FindStep find_step) {
    steps_.clear();
    double best_score = objective() + price * state.moves();
    size_t best_length = 0;
    state.ClearBlocked();
    while (steps_.size() < max_steps_ && steps_.size() - best_length < max_past_best_) {
      // Neither this point nor any that takes more moves can be the best.
      if (lower_bound + price * state.moves() >= best_score) break;
      const Step step = find_step();
      if (!step.is_some()) break;
      steps_.push_back(step);
      state.Apply(step);
      const double score = objective() + price * state.moves();
      if (score < best_score) {
        best_score = score;
        best_length = steps_.size();
        state.ClearBlocked();
      }
    }
    while (steps_.size() > best_length) {
      state.Undo(steps_.back());
      steps_.pop_back();
    }
  }

 private:
  // Exchanges of equal worth can go round in circles: a path ends that has found nothing for long.
  static constexpr size_t kMinPastBest = 16;

  size_t max_steps_ = 0;
  size_t max_past_best_ = 0;
  std::vector<Step> steps_;
};

}  // namespace steelyard
