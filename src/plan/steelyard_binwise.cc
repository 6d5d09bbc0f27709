#include "plan/steelyard_binwise.h"

#include <algorithm>
#include <limits>

namespace steelyard {
namespace {

/// What a rank carries of one bin, and what that takes it.
struct Load {
  double load;
  double slowness;
};

// Each of these adds, for every step of a kind, the time of the hottest rank in one bin: of `hot`,
// of `other`, or of the rest.

/// `theirs` of `other` for an expert of `hot`, which has changed sides already.
void AddSwaps(std::span<const double> theirs, Load hot, Load other, double rest, double* scores) {
  for (size_t i = 0; i < theirs.size(); ++i) {
    const double of_hot = (hot.load + theirs[i]) * hot.slowness;
    const double of_other = (other.load - theirs[i]) * other.slowness;
    scores[i] += std::max(rest, std::max(of_hot, of_other));
  }
}

/// For each of `mine` of `hot`, another copy on `other`: with that, each carries `more`.
void AddAdds(std::span<const double> mine, std::span<const double> more, Load hot, Load other,
             double rest, double* scores) {
  for (size_t i = 0; i < mine.size(); ++i) {
    const double of_hot = (hot.load - mine[i] + more[i]) * hot.slowness;
    const double of_other = (other.load + more[i]) * other.slowness;
    scores[i] += std::max(rest, std::max(of_hot, of_other));
  }
}

/// A copy on `hot` that carries `more`.
void AddSheds(std::span<const double> more, Load hot, double rest, double* scores) {
  for (size_t i = 0; i < more.size(); ++i) {
    scores[i] += std::max(rest, (hot.load + more[i]) * hot.slowness);
  }
}

}  // namespace

void BinwiseSearch::Prepare(const LayerShape& shape) {
  tops_.assign(shape.num_bins, {});
  hot_ranks_.reserve(shape.num_bins);
  rest_.assign(shape.num_bins, 0.0);
  raised_.assign(shape.num_bins, 0.0);
  hot_bins_.assign(shape.num_bins, 0.0);
  relief_.assign(shape.num_bins, 0.0);
  prices_.assign(shape.slots_per_rank, 0.0);
  scores_.assign(shape.slots_per_rank, 0.0);
  const size_t num_cells = static_cast<size_t>(shape.num_bins) * shape.slots_per_rank;
  const auto prepare = [num_cells](Columns& columns) {
    columns.copy.assign(num_cells, 0.0);
    columns.more.assign(num_cells, 0.0);
  };
  prepare(hot_);
  for (Columns& partner : partners_) prepare(partner);
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
  best_score_ = objective_;
  best_ = {};
  num_partners_ = std::min(kNumPartners, state_->num_ranks());
  for (int i = 0; i < num_partners_; ++i) ReadColumns(state_->cool_rank(i), partners_[i]);
  const int fewest_moves = state_->moves() == 0 ? 1 : -2;
  for (const HotRank& hot : hot_ranks_) {
    if (best_.is_some() || hot.gain <= price_ * fewest_moves) break;
    ReadColumns(hot.rank, hot_);
    FindRelief();
    for (int i = 0; i < num_partners_; ++i) {
      if (partners_[i].rank == hot.rank) continue;
      FindRest(hot.rank, partners_[i].rank);
      TrySwaps(partners_[i]);
      TryAdds(partners_[i]);
    }
    FindRest(hot.rank, hot.rank);
    TrySheds();
  }
  return best_.is_some();
}

void BinwiseSearch::ReadColumns(int rank, Columns& columns) const {
  const size_t size = state_->held(rank).size();
  columns.rank = rank;
  columns.slowness = state_->slowness(rank);
  columns.bins = state_->rank_bins(rank);
  columns.held = state_->held(rank);
  for (size_t i = 0; i < size; ++i) {
    const double* copy = state_->copy_bins(columns.held[i].expert);
    const double* more = state_->copy_bins_with_one_more(columns.held[i].expert);
    for (size_t t = 0; t < tops_.size(); ++t) {
      columns.copy[t * size + i] = copy[t];
      columns.more[t * size + i] = more[t];
    }
  }
}

void BinwiseSearch::FindRelief() {
  for (size_t t = 0; t < tops_.size(); ++t) {
    const std::span<const double> copy = hot_.copies_in(t);
    const std::span<const double> more = hot_.more_in(t);
    double relief = 0.0;
    for (size_t i = 0; i < copy.size(); ++i) relief = std::max(relief, copy[i] - more[i]);
    relief_[t] = relief;
  }
}

void BinwiseSearch::FindRest(int rank, int other) {
  for (size_t t = 0; t < tops_.size(); ++t) {
    const Top& top = tops_[t];
    int place = 0;
    while (place < 2 && (top.rank[place] == rank || top.rank[place] == other)) ++place;
    rest_[t] = top.load[place];
  }
}

void BinwiseSearch::ListPrices(const Columns& giver, int taker, std::vector<double>& prices) const {
  for (size_t i = 0; i < giver.held.size(); ++i) {
    const int32_t expert = giver.held[i].expert;
    prices[i] = state_->Holds(taker, expert) ? std::numeric_limits<double>::infinity()
                                             : Price(taker, expert);
  }
}

void BinwiseSearch::Offer(double score, const Step& step) {
  if (score < best_score_ && state_->Allows(step)) {
    best_score_ = score;
    best_ = step;
  }
}

void BinwiseSearch::TrySwaps(const Columns& other) {
  double least = LeastPrice(hot_.rank) + LeastPrice(other.rank);
  for (size_t t = 0; t < tops_.size(); ++t) {
    least += std::max(rest_[t], state_->LevelBin(hot_.rank, other.rank, static_cast<int>(t)));
  }
  if (least >= best_score_) return;
  ListPrices(other, hot_.rank, prices_);
  for (size_t j = 0; j < other.held.size(); ++j) {
    prices_[j] -= Price(other.rank, other.held[j].expert);
  }
  for (size_t i = 0; i < hot_.held.size(); ++i) {
    const int32_t a = hot_.held[i].expert;
    if (state_->Holds(other.rank, a)) continue;
    const double price = Price(other.rank, a) - Price(hot_.rank, a);
    for (size_t j = 0; j < other.held.size(); ++j) scores_[j] = prices_[j] + price;
    for (size_t t = 0; t < tops_.size(); ++t) {
      const double shift = hot_.copies_in(t)[i];
      AddSwaps(other.copies_in(t), {hot_.bins[t] - shift, hot_.slowness},
               {other.bins[t] + shift, other.slowness}, rest_[t], scores_.data());
    }
    for (size_t j = 0; j < other.held.size(); ++j) {
      if (scores_[j] >= best_score_) continue;
      Offer(scores_[j], {.rank_a = hot_.rank,
                         .expert_a = a,
                         .rank_b = other.rank,
                         .expert_b = other.held[j].expert});
    }
  }
}

// What the loss of a copy on `rank` does to the other holders: the hot rank by itself, the rest
// together.
void BinwiseSearch::Raise(int expert, int rank) {
  const double* now = state_->copy_bins(expert);
  const double* less = state_->copy_bins_with_one_less(expert);
  std::copy(rest_.begin(), rest_.end(), raised_.begin());
  std::copy_n(hot_.bins, hot_bins_.size(), hot_bins_.begin());
  state_->ForEachHolder(expert, [&](int holder) {
    if (holder == rank) return;
    const double* load = state_->rank_bins(holder);
    for (size_t t = 0; t < raised_.size(); ++t) {
      const double risen = load[t] - now[t] + less[t];
      if (holder == hot_.rank) {
        hot_bins_[t] = risen;
      } else {
        raised_[t] = std::max(raised_[t], risen * state_->slowness(holder));
      }
    }
  });
}

void BinwiseSearch::TryAdds(const Columns& other) {
  double least = LeastPrice(other.rank);
  for (size_t t = 0; t < tops_.size(); ++t) {
    least += std::max(rest_[t], (hot_.bins[t] - relief_[t]) * hot_.slowness);
  }
  if (least >= best_score_) return;
  ListPrices(hot_, other.rank, prices_);
  for (const HeldExpert& b : other.held) {
    if (b.copies < 2) continue;
    Raise(b.expert, other.rank);
    const double* b_bins = state_->copy_bins(b.expert);
    const double price = -Price(other.rank, b.expert);
    for (size_t i = 0; i < hot_.held.size(); ++i) scores_[i] = prices_[i] + price;
    for (size_t t = 0; t < tops_.size(); ++t) {
      AddAdds(hot_.copies_in(t), hot_.more_in(t), {hot_bins_[t], hot_.slowness},
              {other.bins[t] - b_bins[t], other.slowness}, raised_[t], scores_.data());
    }
    for (size_t i = 0; i < hot_.held.size(); ++i) {
      if (scores_[i] >= best_score_) continue;
      Offer(scores_[i],
            {.rank_a = other.rank, .expert_a = b.expert, .expert_b = hot_.held[i].expert});
    }
  }
}

void BinwiseSearch::TrySheds() {
  for (const HeldExpert& b : hot_.held) {
    if (b.copies < 2) continue;
    Raise(b.expert, hot_.rank);
    const double* b_bins = state_->copy_bins(b.expert);
    double least = LeastPrice(hot_.rank);
    for (size_t t = 0; t < tops_.size(); ++t) {
      hot_bins_[t] -= b_bins[t];
      least += std::max(raised_[t], hot_bins_[t] * hot_.slowness);
    }
    for (int i = 0; i < num_partners_ && least < best_score_; ++i) {
      if (partners_[i].rank != hot_.rank) TryShedding(b.expert, partners_[i]);
    }
  }
}

void BinwiseSearch::TryShedding(int32_t b, const Columns& other) {
  ListPrices(other, hot_.rank, scores_);
  const double price = -Price(hot_.rank, b);
  for (size_t i = 0; i < other.held.size(); ++i) scores_[i] += price;
  for (size_t t = 0; t < tops_.size(); ++t) {
    AddSheds(other.more_in(t), {hot_bins_[t], hot_.slowness}, raised_[t], scores_.data());
  }
  for (size_t i = 0; i < other.held.size(); ++i) {
    if (scores_[i] >= best_score_) continue;
    Offer(scores_[i], {.rank_a = hot_.rank, .expert_a = b, .expert_b = other.held[i].expert});
  }
}

}  // namespace steelyard
