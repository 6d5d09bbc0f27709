#include "plan/steelyard_search.h"

#include <algorithm>

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
  path_.Prepare(kMaxStepsPerRank * shape.num_ranks);
}

void PathSearch::Run(const SearchOptions& options, LayerState& state) {
  const double enough =
      options.price > 0.0 ? options.lower_bound + kMovesOfStep * options.price : 0.0;
  bool repairing = true;
  const auto find_step = [&]() -> Step {
    if (state.max_rank_time() <= options.settled_at) return {};
    if (repairing) {
      const Step step = FindRepair(state, options.heaviest_copy);
      if (step.is_some()) return step;
      repairing = false;
    }
    return cooling_.Find(state, options.price, enough);
  };
  // Lower than settled is worth no move.
  path_.Follow(
      options.price, std::max(options.lower_bound, options.settled_at), state,
      [&] { return state.Objective(); }, find_step);
}

}  // namespace steelyard
