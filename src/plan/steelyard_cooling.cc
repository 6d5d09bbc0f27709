#include "plan/steelyard_cooling.h"

#include <algorithm>

namespace steelyard {
namespace {

// Measured on 58 x 256 on 32 x 9: with two partners plans are 0.1 % worse, with eight none better
// and a third slower.
constexpr int kNumPartners = 4;
// While none helps, this many times as many are looked at.
constexpr int kWiden = 4;
// But never more than this: beyond 64 ranks the search would take most of its time to find nothing.
constexpr int kMaxPartners = 256;
// Ranks whose redundant copies make room in a chain, and whose experts take part.
constexpr int kNumChainPartners = 4;

}  // namespace

Step CoolingStepFinder::Find(const LayerState& state, double price, double enough) {
  state_ = &state;
  price_ = price;
  enough_ = enough;
  hot_ = state.hot_rank(0);
  hot_load_ = state.rank_load(hot_);
  hot_slowness_ = state.slowness(hot_);
  best_value_ = state.max_rank_time();
  best_ = {};
  const int num_ranks = std::min(state.num_ranks(), kMaxPartners);
  for (int from = 0, to = kNumPartners; from < num_ranks && !best_.is_some();
       from = to, to *= kWiden) {
    to = std::min(to, num_ranks);
    TrySwaps(from, to);
    if (HasEnough()) break;
    TryAdds(from, to);
    TrySheds(from, to);
  }
  if (!best_.is_some()) TryChains();
  return best_;
}

void CoolingStepFinder::Offer(double value, const Step& step) {
  if (value < best_value_ && state_->Allows(step)) {
    best_value_ = value;
    best_ = step;
  }
}

void CoolingStepFinder::TrySwaps(int from, int to) {
  for (int i = from; i < to; ++i) {
    const int cool = state_->cool_rank(i);
    if (cool == hot_) continue;
    // No swap does better than to level the two.
    const double least = state_->LevelTime(hot_, cool) + FewestMovesPrice(hot_);
    // Where ranks are alike, the next partner only levels higher.
    if (least - price_ >= best_value_ && state_->shape().topology == nullptr) return;
    if (least + FewestMovesPrice(cool) < best_value_) TrySwapsWith(cool);
    if (HasEnough()) return;
  }
}

// The best swap of an expert is with one that is lighter by what levels the two ranks: tries
// outward from there, while the rank that ends hotter may still be below what has been found.
void CoolingStepFinder::TrySwapsWith(int cool) {
  const double hot_load = hot_load_;
  const double hot_slowness = hot_slowness_;
  const double cool_load = state_->rank_load(cool);
  const double cool_slowness = state_->slowness(cool);
  const double shift =
      (hot_load * hot_slowness - cool_load * cool_slowness) / (hot_slowness + cool_slowness);
  // Loads that the two must stay below for a swap to be the best so far.
  const double fewest_moves_price = FewestMovesPrice(hot_) + FewestMovesPrice(cool);
  const double hot_speed = state_->speed(hot_);
  const double cool_speed = state_->speed(cool);
  double hot_limit = (best_value_ - fewest_moves_price) * hot_speed;
  double cool_limit = (best_value_ - fewest_moves_price) * cool_speed;
  const auto offer = [&](double hotter, const HeldExpert& mine, const HeldExpert& theirs) {
    OfferSwap(hotter, mine, cool, theirs);
    hot_limit = (best_value_ - fewest_moves_price) * hot_speed;
    cool_limit = (best_value_ - fewest_moves_price) * cool_speed;
  };
  const std::span<const HeldExpert> all_theirs = state_->held(cool);
  const int size = static_cast<int>(all_theirs.size());
  int below = 0;  // the first of theirs that is lighter than the target
  for (const HeldExpert& mine : state_->held(hot_)) {
    const double target = mine.load - shift;
    const double without = hot_load - mine.load;
    const double with = cool_load + mine.load;
    while (below < size && all_theirs[below].load > target) ++below;
    for (int i = below - 1; i >= 0; --i) {
      const double hotter = without + all_theirs[i].load;
      if (hotter >= hot_limit) break;
      offer(hotter * hot_slowness, mine, all_theirs[i]);
    }
    for (int i = below; i < size; ++i) {
      const double hotter = with - all_theirs[i].load;
      if (hotter >= cool_limit) break;
      offer(hotter * cool_slowness, mine, all_theirs[i]);
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

/// The hottest rank's time after the most helpful copy of one of its experts elsewhere. Notes the
/// lightest copy that may help.
double CoolingStepFinder::LeastAfterAdding() {
  double least = hot_load_;
  lightest_added_ = hot_load_;
  for (const HeldExpert& mine : state_->held(hot_)) {
    if (mine.copies == state_->num_ranks()) continue;
    const double more = state_->copy_load_with_one_more(mine.expert);
    const double left = hot_load_ - mine.load + more;
    least = std::min(least, left);
    if (left * hot_slowness_ - price_ < best_value_) {
      lightest_added_ = std::min(lightest_added_, more);
    }
  }
  return least * hot_slowness_;
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
  const double fewest_moves_price = FewestMovesPrice(cool);
  const double cool_load = state_->rank_load(cool) - theirs.load;
  const double cool_slowness = state_->slowness(cool);
  if ((cool_load + lightest_added_) * cool_slowness + fewest_moves_price >= best_value_) return;
  const double rise = state_->RiseWithoutACopy(theirs.expert);
  if (state_->LeastTimeWith(rise) + fewest_moves_price >= best_value_) return;
  const double others = state_->HottestHolderWithout(theirs.expert, cool, hot_);
  if (others + fewest_moves_price >= best_value_) return;
  const double hot_load = hot_load_ + (state_->Holds(hot_, theirs.expert) ? rise : 0.0);
  for (const HeldExpert& mine : state_->held(hot_)) {
    if (mine.copies == state_->num_ranks() || state_->Holds(cool, mine.expert)) continue;
    const double more = state_->copy_load_with_one_more(mine.expert);
    const double hottest = std::max({others, (hot_load - mine.load + more) * hot_slowness_,
                                     (cool_load + more) * cool_slowness});
    Offer(hottest + price_ * state_->MovesOf(cool, theirs.expert, mine.expert),
          {.rank_a = cool, .expert_a = theirs.expert, .rank_b = -1, .expert_b = mine.expert});
  }
}

void CoolingStepFinder::TrySheds(int from, int to) {
  const double fewest_moves_price = FewestMovesPrice(hot_);
  for (const HeldExpert& mine : state_->held(hot_)) {
    const double without = hot_load_ - mine.load;
    if (mine.copies == 1 || without * hot_slowness_ + fewest_moves_price >= best_value_) continue;
    const double others = state_->HottestHolderWithout(mine.expert, hot_, hot_);
    if (others + fewest_moves_price >= best_value_) continue;
    for (int i = from; i < to; ++i) {
      for (const HeldExpert& theirs : state_->held(state_->hot_rank(i))) {
        const double hottest = std::max(
            others, (without + state_->copy_load_with_one_more(theirs.expert)) * hot_slowness_);
        if (hottest + fewest_moves_price >= best_value_) continue;
        if (state_->Holds(hot_, theirs.expert)) continue;
        Offer(hottest + price_ * state_->MovesOf(hot_, mine.expert, theirs.expert),
              {.rank_a = hot_, .expert_a = mine.expert, .rank_b = -1, .expert_b = theirs.expert});
      }
    }
  }
}

// Of the redundant copies of cool ranks each makes room either for an expert of the hottest rank,
// which takes a lighter one for it, or for one that is in the way of a copy of such an expert.
void CoolingStepFinder::TryChains() {
  const int num_partners = std::min(kNumChainPartners, state_->num_ranks());
  for (int i = 0; i < num_partners; ++i) {
    const int room = state_->cool_rank(i);
    if (room == hot_) continue;
    const double fewest_moves_price = FewestMovesPrice(room) - price_;
    for (const HeldExpert& spare : state_->held(room)) {
      if (spare.copies == 1) continue;
      const double others = state_->HottestHolderWithout(spare.expert, room, hot_);
      if (others + fewest_moves_price >= best_value_) continue;
      TryMovesOut(spare, room, others);
      for (int j = 0; j < num_partners; ++j) {
        const int cool = state_->cool_rank(j);
        if (cool != room && cool != hot_) TryMakingWay(spare, room, cool, others);
      }
    }
  }
}

double CoolingStepFinder::LoadWithout(int rank, const HeldExpert& spare) const {
  return state_->rank_load(rank) +
         (state_->Holds(rank, spare.expert) ? state_->RiseWithoutACopy(spare.expert) : 0.0);
}

void CoolingStepFinder::TryMovesOut(const HeldExpert& spare, int room, double others) {
  const double hot_load = LoadWithout(hot_, spare);
  const double room_load = state_->rank_load(room) - spare.load;
  const double fewest_moves_price = FewestMovesPrice(hot_) + FewestMovesPrice(room);
  for (const HeldExpert& mine : state_->held(hot_)) {
    if (mine.expert == spare.expert || state_->Holds(room, mine.expert)) continue;
    const double hotter =
        std::max(others, (room_load + mine.load) * state_->slowness(room)) + fewest_moves_price;
    if (hotter >= best_value_) continue;
    for (int i = 0; i < std::min(kNumChainPartners, state_->num_ranks()); ++i) {
      for (const HeldExpert& theirs : state_->held(state_->hot_rank(i))) {
        if (state_->Holds(hot_, theirs.expert) || theirs.expert == spare.expert) continue;
        const double more = state_->copy_load_with_one_more(theirs.expert);
        const double hottest =
            std::max(hotter, (hot_load - mine.load + more) * hot_slowness_ + fewest_moves_price);
        if (hottest >= best_value_) continue;
        const int moves = state_->MovesOf(hot_, mine.expert, theirs.expert) +
                          state_->MovesOf(room, spare.expert, mine.expert);
        Offer(hottest - fewest_moves_price + price_ * moves, {.rank_a = hot_,
                                                              .expert_a = mine.expert,
                                                              .rank_b = room,
                                                              .expert_b = theirs.expert,
                                                              .expert_c = spare.expert});
      }
    }
  }
}

void CoolingStepFinder::TryMakingWay(const HeldExpert& spare, int room, int cool, double others) {
  const double hot_load = LoadWithout(hot_, spare);
  const double cool_load = LoadWithout(cool, spare);
  const double room_load = state_->rank_load(room) - spare.load;
  const double fewest_moves_price = FewestMovesPrice(cool) + FewestMovesPrice(room);
  for (const HeldExpert& way : state_->held(cool)) {
    if (way.expert == spare.expert || way.copies > 1 || state_->Holds(room, way.expert)) continue;
    const double room_time = (room_load + way.load) * state_->slowness(room);
    if (room_time + fewest_moves_price >= best_value_) continue;
    for (const HeldExpert& mine : state_->held(hot_)) {
      if (mine.copies == state_->num_ranks() || mine.expert == spare.expert) continue;
      if (state_->Holds(cool, mine.expert)) continue;
      const double less = mine.load - state_->copy_load_with_one_more(mine.expert);
      const double room_less = state_->Holds(room, mine.expert) ? less : 0.0;
      const double hottest =
          std::max({others, room_time - room_less * state_->slowness(room),
                    (hot_load - less) * hot_slowness_,
                    (cool_load - way.load + mine.load - less) * state_->slowness(cool)});
      if (hottest + fewest_moves_price >= best_value_) continue;
      const int moves = state_->MovesOf(cool, way.expert, mine.expert) +
                        state_->MovesOf(room, spare.expert, way.expert);
      Offer(hottest + price_ * moves, {.rank_a = cool,
                                       .expert_a = way.expert,
                                       .rank_b = room,
                                       .expert_b = mine.expert,
                                       .expert_c = spare.expert});
    }
  }
}

}  // namespace steelyard
