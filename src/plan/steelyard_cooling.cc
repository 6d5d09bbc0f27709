#include "plan/steelyard_cooling.h"

#include <algorithm>

namespace steelyard {
namespace {

// Measured on 58 x 256 on 32 x 9: with two partners plans are 0.1 % worse, with eight none better
// and a third slower.
constexpr int kNumPartners = 4;
// While none helps, this many times as many are looked at.
constexpr int kWiden = 4;

}  // namespace

Step CoolingStepFinder::Find(const LayerState& state, double price) {
  state_ = &state;
  price_ = price;
  hot_ = state.hot_rank(0);
  hot_load_ = state.max_rank_load();
  best_value_ = hot_load_;
  best_ = {};
  const int num_ranks = state.shape().num_ranks;
  for (int from = 0, to = kNumPartners; from < num_ranks && !best_.is_some();
       from = to, to *= kWiden) {
    to = std::min(to, num_ranks);
    TrySwaps(from, to);
    TryAdds(from, to);
    TrySheds(from, to);
  }
  return best_;
}

void CoolingStepFinder::Offer(double value, const Step& step) {
  if (value < best_value_) {
    best_value_ = value;
    best_ = step;
  }
}

void CoolingStepFinder::TrySwaps(int from, int to) {
  for (int i = from; i < to; ++i) {
    const int cool = state_->cool_rank(i);
    if (cool == hot_) continue;
    // No swap leaves both below the mean of the two, and the next partner is hotter.
    const double least = 0.5 * (hot_load_ + state_->rank_load(cool)) + FewestMovesPrice(hot_);
    if (least - price_ >= best_value_) return;
    if (least + FewestMovesPrice(cool) < best_value_) TrySwapsWith(cool);
  }
}

// The best swap of an expert is with one that is lighter by half the gap of the two ranks: tries
// outward from there, while the rank that ends hotter may still be below what has been found.
void CoolingStepFinder::TrySwapsWith(int cool) {
  const double hot_load = hot_load_;
  const double cool_load = state_->rank_load(cool);
  const double fewest_moves_price = FewestMovesPrice(hot_) + FewestMovesPrice(cool);
  const std::span<const HeldExpert> all_theirs = state_->held(cool);
  const int size = static_cast<int>(all_theirs.size());
  int below = 0;  // the first of theirs that is lighter than the target
  for (const HeldExpert& mine : state_->held(hot_)) {
    const double target = mine.load - 0.5 * (hot_load - cool_load);
    while (below < size && all_theirs[below].load > target) ++below;
    for (int i = below - 1; i >= 0; --i) {
      const double hotter = hot_load - mine.load + all_theirs[i].load;
      if (hotter + fewest_moves_price >= best_value_) break;
      OfferSwap(hotter, mine, cool, all_theirs[i]);
    }
    for (int i = below; i < size; ++i) {
      const double hotter = cool_load + mine.load - all_theirs[i].load;
      if (hotter + fewest_moves_price >= best_value_) break;
      OfferSwap(hotter, mine, cool, all_theirs[i]);
    }
  }
}

void CoolingStepFinder::OfferSwap(double hotter, const HeldExpert& mine, int cool,
                                  const HeldExpert& theirs) {
  if (state_->Holds(hot_, theirs.expert) || state_->Holds(cool, mine.expert)) return;
  const int moves = state_->MovesOf(hot_, mine.expert, theirs.expert) +
                    state_->MovesOf(cool, theirs.expert, mine.expert);
  Offer(hotter + price_ * moves,
        {.rank_a = hot_, .expert_a = mine.expert, .rank_b = cool, .expert_b = theirs.expert});
}

/// The hottest rank's load after the most helpful copy of one of its experts elsewhere.
double CoolingStepFinder::LeastAfterAdding() const {
  double least = hot_load_;
  for (const HeldExpert& mine : state_->held(hot_)) {
    if (mine.copies == state_->shape().num_ranks) continue;
    least = std::min(least, hot_load_ - mine.load + state_->copy_load_with_one_more(mine.expert));
  }
  return least;
}

void CoolingStepFinder::TryAdds(int from, int to) {
  const double least = LeastAfterAdding();
  if (least - price_ >= best_value_) return;
  for (int i = from; i < to; ++i) {
    const int cool = state_->cool_rank(i);
    if (cool == hot_ || least + FewestMovesPrice(cool) >= best_value_) continue;
    for (const HeldExpert& theirs : state_->held(cool)) {
      if (theirs.copies > 1) TryAddsOver(theirs, cool);
    }
  }
}

void CoolingStepFinder::TryAddsOver(const HeldExpert& theirs, int cool) {
  const double rise = state_->RiseWithoutACopy(theirs.expert);
  const double fewest_moves_price = FewestMovesPrice(cool);
  if (state_->min_rank_load() + rise + fewest_moves_price >= best_value_) return;
  const double others = state_->HottestHolderWithout(theirs.expert, cool, hot_);
  if (others + fewest_moves_price >= best_value_) return;
  const double hot_load = hot_load_ + (state_->Holds(hot_, theirs.expert) ? rise : 0.0);
  const double cool_load = state_->rank_load(cool) - theirs.load;
  for (const HeldExpert& mine : state_->held(hot_)) {
    if (mine.copies == state_->shape().num_ranks || state_->Holds(cool, mine.expert)) continue;
    const double more = state_->copy_load_with_one_more(mine.expert);
    const double hottest = std::max({others, hot_load - mine.load + more, cool_load + more});
    Offer(hottest + price_ * state_->MovesOf(cool, theirs.expert, mine.expert),
          {.rank_a = cool, .expert_a = theirs.expert, .rank_b = -1, .expert_b = mine.expert});
  }
}

void CoolingStepFinder::TrySheds(int from, int to) {
  const double fewest_moves_price = FewestMovesPrice(hot_);
  for (const HeldExpert& mine : state_->held(hot_)) {
    const double without = hot_load_ - mine.load;
    if (mine.copies == 1 || without + fewest_moves_price >= best_value_) continue;
    const double others = state_->HottestHolderWithout(mine.expert, hot_, hot_);
    if (others + fewest_moves_price >= best_value_) continue;
    for (int i = from; i < to; ++i) {
      for (const HeldExpert& theirs : state_->held(state_->hot_rank(i))) {
        const double hottest =
            std::max(others, without + state_->copy_load_with_one_more(theirs.expert));
        if (hottest + fewest_moves_price >= best_value_) continue;
        if (state_->Holds(hot_, theirs.expert)) continue;
        Offer(hottest + price_ * state_->MovesOf(hot_, mine.expert, theirs.expert),
              {.rank_a = hot_, .expert_a = mine.expert, .rank_b = -1, .expert_b = theirs.expert});
      }
    }
  }
}

}  // namespace steelyard
