#include "plan/steelyard_search.h"

#include <algorithm>

namespace steelyard {
namespace {

constexpr int kNumPartners = 4;

/// The best step from one state, found candidate by candidate.
class Candidates {
 public:
  Candidates(const LayerState& state, double price)
      : state_(state),
        price_(price),
        hot_(state.rank_by_heat(0)),
        hot_load_(state.max_rank_load()),
        best_value_(hot_load_) {}

  void Collect() {
    const int num_ranks = state_.shape().num_ranks;
    for (int partners = kNumPartners, from = 1; from < num_ranks;
         from = partners + 1, partners *= 4) {
      CollectFrom(from, std::min(partners, num_ranks - 1));
      if (found()) return;
    }
  }

  bool found() const { return best_.rank_a >= 0; }
  const Step& best() const { return best_; }

 private:
  /// With `from` .. `to` the places of the partners: coldest ranks for swaps and added copies,
  /// hottest for shed ones.
  void CollectFrom(int from, int to) {
    const int num_ranks = state_.shape().num_ranks;
    for (int i = from; i <= to; ++i) {
      const int cold = state_.rank_by_heat(num_ranks - i);
      if (!CollectSwaps(cold)) break;
    }
    double least = best_value_;
    for (const HeldExpert& entry : state_.held(hot_)) {
      if (entry.copies < num_ranks) {
        least =
            std::min(least, hot_load_ - entry.load + state_.copy_load_with_one_more(entry.expert));
      }
    }
    for (int i = from; i <= to; ++i) {
      const int cold = state_.rank_by_heat(num_ranks - i);
      if (least + price_ * FewestMoves(cold) >= best_value_) continue;
      CollectAdds(cold);
    }
    for (const HeldExpert& entry : state_.held(hot_)) {
      if (entry.copies > 1) CollectSheds(entry, from, to);
    }
  }

  /// No exchange of one expert of `rank` changes its moves by less.
  int FewestMoves(int rank) const { return state_.moves(rank) == 0 ? 1 : -1; }

  void Offer(double value, const Step& step) {
    if (value < best_value_) {
      best_value_ = value;
      best_ = step;
    }
  }

  /// False where neither this swap nor one with a load further from the target can be the best.
  bool OfferSwap(const HeldExpert& a, int cold, const HeldExpert& b, double fewest) {
    const double shift = a.load - b.load;
    const double worse = std::max(hot_load_ - shift, state_.rank_load(cold) + shift);
    if (worse + fewest >= best_value_) return false;
    if (state_.Holds(hot_, b.expert) || state_.Holds(cold, a.expert)) return true;
    const int moves =
        state_.MovesOf(hot_, a.expert, b.expert) + state_.MovesOf(cold, b.expert, a.expert);
    Offer(worse + price_ * moves,
          {.rank_a = hot_, .expert_a = a.expert, .rank_b = cold, .expert_b = b.expert});
    return true;
  }

  /// False where no swap with this rank, or with a warmer one, can be the best.
  bool CollectSwaps(int cold) {
    const double gap = hot_load_ - state_.rank_load(cold);
    const double least = hot_load_ - 0.5 * gap + price_ * FewestMoves(hot_);
    if (least - price_ >= best_value_) return false;
    if (least + price_ * FewestMoves(cold) >= best_value_) return true;
    const double fewest = price_ * (FewestMoves(hot_) + FewestMoves(cold));
    const std::span<const HeldExpert> theirs = state_.held(cold);
    const int num_theirs = static_cast<int>(theirs.size());
    int below = 0;
    for (const HeldExpert& a : state_.held(hot_)) {
      const double target = a.load - 0.5 * gap;
      while (below < num_theirs && theirs[below].load > target) ++below;
      for (int i = below - 1; i >= 0 && OfferSwap(a, cold, theirs[i], fewest); --i) {
      }
      for (int i = below; i < num_theirs && OfferSwap(a, cold, theirs[i], fewest); ++i) {
      }
    }
    return true;
  }

  /// The largest load among holders of `expert` other than `rank` when that rank gives its copy up.
  double LargestAfterLosing(int expert, int rank) const {
    const double rise = state_.copy_load_with_one_less(expert) - state_.copy_load(expert);
    double largest = 0.0;
    state_.ForEachHolder(expert, [&](int holder) {
      if (holder != rank) largest = std::max(largest, state_.rank_load(holder) + rise);
    });
    return largest;
  }

  void CollectAdds(int cold) {
    const int num_ranks = state_.shape().num_ranks;
    const double coldest = state_.rank_load(state_.rank_by_heat(num_ranks - 1));
    for (const HeldExpert& b : state_.held(cold)) {
      if (b.copies < 2) continue;
      if (coldest + state_.copy_load_with_one_less(b.expert) - b.load >= best_value_) continue;
      const double others = LargestAfterLosing(b.expert, cold);
      if (others + price_ * FewestMoves(cold) >= best_value_) continue;
      for (const HeldExpert& a : state_.held(hot_)) {
        if (a.copies == num_ranks || state_.Holds(cold, a.expert)) continue;
        const double more = state_.copy_load_with_one_more(a.expert);
        const double worse =
            std::max({hot_load_ - a.load + more, state_.rank_load(cold) - b.load + more, others});
        Offer(worse + price_ * state_.MovesOf(cold, b.expert, a.expert),
              {.rank_a = cold, .expert_a = b.expert, .rank_b = -1, .expert_b = a.expert});
      }
    }
  }

  void CollectSheds(const HeldExpert& b, int from, int to) {
    if (hot_load_ - b.load + price_ * FewestMoves(hot_) >= best_value_) return;
    const double others = LargestAfterLosing(b.expert, hot_);
    if (others >= best_value_) return;
    const int num_ranks = state_.shape().num_ranks;
    for (int i = from; i <= to; ++i) {
      for (const HeldExpert& a : state_.held(state_.rank_by_heat(i))) {
        const double worse =
            std::max(others, hot_load_ - b.load + state_.copy_load_with_one_more(a.expert));
        if (worse + price_ * FewestMoves(hot_) >= best_value_) continue;
        if (a.copies == num_ranks || state_.Holds(hot_, a.expert)) continue;
        Offer(worse + price_ * state_.MovesOf(hot_, b.expert, a.expert),
              {.rank_a = hot_, .expert_a = b.expert, .rank_b = -1, .expert_b = a.expert});
      }
    }
  }

  const LayerState& state_;
  const double price_;
  const int hot_;
  const double hot_load_;
  double best_value_;
  Step best_;
};

}  // namespace

void SearchBottleneck(const SearchOptions& options, LayerState& state, std::vector<Step>& path) {
  path.clear();
  const auto score = [&] { return state.Objective() + options.price * state.moves(); };
  double best_score = score();
  size_t best_length = 0;
  for (int step_idx = 0; step_idx < options.max_steps; ++step_idx) {
    if (state.max_rank_load() <= options.lower_bound) break;
    if (options.lower_bound + options.price * state.moves() >= best_score) break;
    Candidates candidates(state, options.price);
    candidates.Collect();
    if (!candidates.found()) break;
    path.push_back(candidates.best());
    state.Apply(path.back());
    if (score() < best_score) {
      best_score = score();
      best_length = path.size();
    }
  }
  while (path.size() > best_length) {
    state.Undo(path.back());
    path.pop_back();
  }
}

}  // namespace steelyard
