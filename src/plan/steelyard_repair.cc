#include "plan/steelyard_repair.h"

#include <algorithm>

namespace steelyard {
namespace {

int HeaviestExpert(const LayerState& state, double heaviest_copy) {
  int heaviest = -1;
  double most = heaviest_copy;
  for (int expert = 0; expert < state.shape().num_experts; ++expert) {
    if (state.copy_load(expert) > most && state.copies(expert) < state.num_ranks()) {
      most = state.copy_load(expert);
      heaviest = expert;
    }
  }
  return heaviest;
}

}  // namespace

Step FindRepair(const LayerState& state, double heaviest_copy) {
  const int heavy = HeaviestExpert(state, heaviest_copy);
  Step best;
  if (heavy < 0) {
    return best;
  }
  const double more = state.copy_load_with_one_more(heavy);
  double coolest = 0.0;
  for (int rank = 0; rank < state.shape().num_ranks; ++rank) {
    if (state.Holds(rank, heavy)) continue;
    for (const HeldExpert& b : state.held(rank)) {
      if (b.copies < 2 || state.copy_load_with_one_less(b.expert) >= state.copy_load(heavy)) {
        continue;
      }
      const double own = (state.rank_load(rank) - b.load + more) * state.slowness(rank);
      if (best.is_some() && own >= coolest) continue;
      const double hottest = std::max(own, state.HottestHolderWithout(b.expert, rank, rank));
      const Step step = {.rank_a = rank, .expert_a = b.expert, .rank_b = -1, .expert_b = heavy};
      if ((best.is_some() && hottest >= coolest) || !state.Allows(step)) continue;
      coolest = hottest;
      best = step;
    }
  }
  return best;
}

}  // namespace steelyard
