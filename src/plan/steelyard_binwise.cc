#include "plan/steelyard_binwise.h"

#include <algorithm>

namespace steelyard {
namespace {

constexpr int kNumPartners = 8;

double Sum(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum;
}

}  // namespace

void BinwiseSearch::Prepare(const LayerShape& shape) {
  tops_.assign(shape.num_bins, {});
  hot_ranks_.reserve(shape.num_bins);
  rest_.assign(shape.num_bins, 0.0);
  raised_.assign(shape.num_bins, 0.0);
  hot_bins_.assign(shape.num_bins, 0.0);
}

void BinwiseSearch::Run(double price, int max_steps, LayerState& state) {
  state_ = &state;
  price_ = price;
  for (int i = 0; i < max_steps; ++i) {
    state.ClearBlocked();
    if (!FindBestStep()) break;
    state.Apply(best_);
  }
}

void BinwiseSearch::FindTops() {
  objective_ = 0.0;
  for (size_t t = 0; t < tops_.size(); ++t) {
    Top top = {{0.0, 0.0, 0.0}, {-1, -1, -1}};
    for (int rank = 0; rank < state_->shape().num_ranks; ++rank) {
      const double load = state_->rank_bins(rank)[t] * state_->slowness(rank);
      if (state_->held(rank).empty()) continue;
      if (load <= top.load[2] && top.rank[2] >= 0) continue;
      int place = 2;
      for (; place > 0 && (load > top.load[place - 1] || top.rank[place - 1] < 0); --place) {
        top.load[place] = top.load[place - 1];
        top.rank[place] = top.rank[place - 1];
      }
      top.load[place] = load;
      top.rank[place] = rank;
    }
    tops_[t] = top;
    objective_ += top.load[0];
  }
}

void BinwiseSearch::FindHotRanks() {
  hot_ranks_.clear();
  for (const Top& top : tops_) {
    const int32_t rank = top.rank[0];
    auto entry = std::find_if(hot_ranks_.begin(), hot_ranks_.end(),
                              [rank](const HotRank& hot) { return hot.rank == rank; });
    if (entry == hot_ranks_.end()) entry = hot_ranks_.insert(entry, {0.0, rank});
    // The other rank of a pair may be the second hottest.
    entry->gain += top.load[0] - top.load[2];
  }
  std::sort(hot_ranks_.begin(), hot_ranks_.end(), [](const HotRank& a, const HotRank& b) {
    return a.gain != b.gain ? a.gain > b.gain : a.rank < b.rank;
  });
}

bool BinwiseSearch::FindBestStep() {
  FindTops();
  FindHotRanks();
  best_gain_ = 0.0;
  best_ = {};
  const int num_ranks = state_->num_ranks();
  const int fewest_moves = state_->moves() == 0 ? 1 : -2;
  for (const HotRank& hot : hot_ranks_) {
    if (hot.gain - price_ * fewest_moves <= best_gain_) break;
    for (int i = 0; i < std::min(kNumPartners, num_ranks); ++i) {
      const int other = state_->cool_rank(i);
      if (other != hot.rank) TryPartner(hot.rank, other);
    }
  }
  return best_.is_some();
}

void BinwiseSearch::Offer(double objective, int moves, const Step& step) {
  const double gain = objective_ - objective - price_ * moves;
  if (gain > best_gain_ && state_->Allows(step)) {
    best_gain_ = gain;
    best_ = step;
  }
}

void BinwiseSearch::TryPartner(int hot, int other) {
  const LayerState& state = *state_;
  double least = 0.0;
  for (size_t t = 0; t < tops_.size(); ++t) {
    const Top& top = tops_[t];
    int place = 0;
    while (place < 2 && (top.rank[place] == hot || top.rank[place] == other)) ++place;
    rest_[t] = top.load[place];
    least += std::max(rest_[t], state.LevelBin(hot, other, static_cast<int>(t)));
  }
  const auto fewest = [&](int rank) { return state.moves(rank) == 0 ? 1 : -1; };
  if (objective_ - least - price_ * (fewest(hot) + fewest(other)) > best_gain_) {
    TrySwaps(hot, other);
  }
  TryAdds(hot, other);
  TrySheds(hot, other);
}

void BinwiseSearch::TrySwaps(int hot, int other) {
  const LayerState& state = *state_;
  const size_t num_bins = tops_.size();
  const double* hot_bins = state.rank_bins(hot);
  const double* other_bins = state.rank_bins(other);
  const double hot_slowness = state.slowness(hot);
  const double other_slowness = state.slowness(other);
  const double floor = Sum(rest_);
  for (const HeldExpert& a : state.held(hot)) {
    if (state.Holds(other, a.expert)) continue;
    const double* a_bins = state.copy_bins(a.expert);
    for (const HeldExpert& b : state.held(other)) {
      if (state.Holds(hot, b.expert)) continue;
      const int moves =
          state.MovesOf(hot, a.expert, b.expert) + state.MovesOf(other, b.expert, a.expert);
      const double limit = Limit(moves);
      const double* b_bins = state.copy_bins(b.expert);
      double objective = floor;
      for (size_t t = 0; t < num_bins && objective < limit; ++t) {
        const double shift = a_bins[t] - b_bins[t];
        const double worse = std::max((hot_bins[t] - shift) * hot_slowness,
                                      (other_bins[t] + shift) * other_slowness);
        objective += std::max(0.0, worse - rest_[t]);
      }
      Offer(objective, moves,
            {.rank_a = hot, .expert_a = a.expert, .rank_b = other, .expert_b = b.expert});
    }
  }
}

// What the loss of a copy on `rank` does to the other holders: the hottest rank by itself, the rest
// together.
void BinwiseSearch::Raise(int expert, int rank, int hot) {
  const LayerState& state = *state_;
  const double* now = state.copy_bins(expert);
  const double* all = state.expert_bins(expert);
  const int fewer = state.copies(expert) - 1;
  std::copy(rest_.begin(), rest_.end(), raised_.begin());
  std::copy_n(state.rank_bins(hot), hot_bins_.size(), hot_bins_.begin());
  state.ForEachHolder(expert, [&](int holder) {
    if (holder == rank) return;
    const double* load = state.rank_bins(holder);
    for (size_t t = 0; t < raised_.size(); ++t) {
      const double risen = load[t] - now[t] + LayerState::Whole(all[t] / fewer);
      if (holder == hot) {
        hot_bins_[t] = risen;
      } else {
        raised_[t] = std::max(raised_[t], risen * state.slowness(holder));
      }
    }
  });
}

void BinwiseSearch::TryAdds(int hot, int other) {
  const LayerState& state = *state_;
  const size_t num_bins = tops_.size();
  const double* other_bins = state.rank_bins(other);
  const double hot_slowness = state.slowness(hot);
  const double other_slowness = state.slowness(other);
  for (const HeldExpert& b : state.held(other)) {
    if (b.copies < 2) continue;
    const double* b_bins = state.copy_bins(b.expert);
    Raise(b.expert, other, hot);
    const double floor = Sum(raised_);
    for (const HeldExpert& a : state.held(hot)) {
      if (a.copies == state.num_ranks() || state.Holds(other, a.expert)) continue;
      const int moves = state.MovesOf(other, b.expert, a.expert);
      const double limit = Limit(moves);
      const double* a_bins = state.copy_bins(a.expert);
      const double* a_all = state.expert_bins(a.expert);
      double objective = floor;
      for (size_t t = 0; t < num_bins && objective < limit; ++t) {
        const double more = LayerState::Whole(a_all[t] / (a.copies + 1));
        const double worse = std::max((hot_bins_[t] - a_bins[t] + more) * hot_slowness,
                                      (other_bins[t] - b_bins[t] + more) * other_slowness);
        objective += std::max(0.0, worse - raised_[t]);
      }
      Offer(objective, moves, {.rank_a = other, .expert_a = b.expert, .expert_b = a.expert});
    }
  }
}

void BinwiseSearch::TrySheds(int hot, int other) {
  const LayerState& state = *state_;
  const size_t num_bins = tops_.size();
  const double* hot_bins = state.rank_bins(hot);
  const double hot_slowness = state.slowness(hot);
  for (size_t t = 0; t < num_bins; ++t) {
    // It stays as it is.
    rest_[t] = std::max(rest_[t], state.rank_bins(other)[t] * state.slowness(other));
  }
  for (const HeldExpert& b : state.held(hot)) {
    if (b.copies < 2) continue;
    const double* b_bins = state.copy_bins(b.expert);
    Raise(b.expert, hot, hot);
    const double floor = Sum(raised_);
    for (const HeldExpert& a : state.held(other)) {
      if (a.copies == state.num_ranks() || state.Holds(hot, a.expert)) continue;
      const int moves = state.MovesOf(hot, b.expert, a.expert);
      const double limit = Limit(moves);
      const double* a_all = state.expert_bins(a.expert);
      double objective = floor;
      for (size_t t = 0; t < num_bins && objective < limit; ++t) {
        const double more = LayerState::Whole(a_all[t] / (a.copies + 1));
        objective += std::max(0.0, (hot_bins[t] - b_bins[t] + more) * hot_slowness - raised_[t]);
      }
      Offer(objective, moves, {.rank_a = hot, .expert_a = b.expert, .expert_b = a.expert});
    }
  }
}

}  // namespace steelyard
