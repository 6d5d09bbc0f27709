#include "plan/steelyard_cost.h"

#include <algorithm>
#include <utility>

namespace steelyard {
namespace {

constexpr size_t kMaxStepsPerRank = 4;
constexpr size_t kNumHot = 2;
constexpr size_t kNumPartners = 5;

double EighthPower(double x) {
  const double square = x * x;
  const double fourth = square * square;
  return fourth * fourth;
}

}  // namespace

void CostSearch::Prepare(const LayerShape& shape, const Topology& topology) {
  shape_ = shape;
  topology_ = &topology;
  tokens_.assign(static_cast<size_t>(shape.num_bins) * shape.num_experts, 0.0);
  weight_.assign(shape.num_bins, 0.0);
  rank_cost_.assign(shape.num_ranks, 0.0);
  rank_power_.assign(shape.num_ranks, 0.0);
  seen_.assign(shape.num_ranks, 0);
  num_tried_ = 0;
  ranks_.reserve(shape.num_ranks);
  path_.Prepare(kMaxStepsPerRank * shape.num_ranks);
}

void CostSearch::Begin(Span2<const double> bins, double bin_tokens, const RankCost& cost) {
  cost_ = cost;
  level_ = 0.0;
  const double num_ranks = topology_->num_live_ranks();
  for (int t = 0; t < shape_.num_bins; ++t) {
    const std::span<const double> row = bins.row(t);
    double total = 0.0;
    int active = 0;
    for (const double load : row) {
      total += load;
      active += load > 0.0 ? 1 : 0;
    }
    const double weight = bin_tokens > 0.0 ? total / bin_tokens : 0.0;
    weight_[t] = weight;
    if (weight == 0.0) continue;
    for (int e = 0; e < shape_.num_experts; ++e) {
      tokens_[static_cast<size_t>(t) * shape_.num_experts + e] = row[e] / weight;
    }
    const double together =
        std::max(cost.a * num_ranks + cost.b * active, cost.c * num_ranks + cost.d * bin_tokens);
    level_ += weight * together / topology_->total_speed();
  }
}

double CostSearch::CostOf(const LayerState& state, int rank, int bin_idx) const {
  const double* tokens = tokens_.data() + static_cast<size_t>(bin_idx) * shape_.num_experts;
  double load = 0.0;
  int active = 0;
  for (const HeldExpert& held : state.held(rank)) {
    load += tokens[held.expert] / held.copies;
    active += tokens[held.expert] > 0.0 ? 1 : 0;
  }
  return weight_[bin_idx] * cost_(load, active) / topology_->speed(rank);
}

double CostSearch::PowerOf(const LayerState& state, int rank) const {
  double power = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    if (weight_[t] > 0.0) power += EighthPower(CostOf(state, rank, t) / level_);
  }
  return power;
}

double CostSearch::Objective(const LayerState& state) {
  double objective = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    if (weight_[t] == 0.0) continue;
    double largest = 0.0;
    for (int rank = 0; rank < shape_.num_ranks; ++rank) {
      if (!topology_->is_dead(rank)) largest = std::max(largest, CostOf(state, rank, t));
    }
    objective += largest;
  }
  return level_ > 0.0 ? objective * (LayerState::kMeanLoad / level_) : 0.0;
}

void CostSearch::Run(double price, LayerState& state) {
  std::fill(seen_.begin(), seen_.end(), 0);
  num_tried_ = 0;
  if (level_ <= 0.0) return;
  path_.Follow(
      price, LayerState::kMeanLoad, state, [&] { return Objective(state); },
      [&] { return FindStep(state); });
}

void CostSearch::OrderRanks(const LayerState& state) {
  ranks_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (topology_->is_dead(rank)) continue;
    ranks_.push_back(rank);
    rank_cost_[rank] = 0.0;
    for (int t = 0; t < shape_.num_bins; ++t) rank_cost_[rank] += CostOf(state, rank, t);
    rank_power_[rank] = PowerOf(state, rank);
  }
  std::sort(ranks_.begin(), ranks_.end(), [this](int32_t a, int32_t b) {
    return rank_cost_[a] != rank_cost_[b] ? rank_cost_[a] > rank_cost_[b] : a < b;
  });
}

Step CostSearch::FindStep(LayerState& state) {
  OrderRanks(state);
  best_ = {};
  best_gain_ = 0.0;
  const size_t num_ranks = ranks_.size();
  for (size_t i = 0; i < std::min(kNumHot, num_ranks); ++i) {
    for (size_t j = 0; j < std::min(kNumPartners, num_ranks); ++j) {
      // Those that cost least, and for shedding those that cost most.
      for (const int32_t other : {ranks_[num_ranks - 1 - j], ranks_[j]}) {
        if (other != ranks_[i]) TryPair(ranks_[i], other, state);
      }
    }
  }
  return best_;
}

// Positions of copies in their rank change with every step that is tried, so that they are looked
// up anew each time: by place, which is restored.
void CostSearch::TryPair(int hot, int other, LayerState& state) {
  for (size_t i = 0; i < state.held(hot).size(); ++i) {
    const HeldExpert mine = state.held(hot)[i];
    for (size_t j = 0; j < state.held(other).size(); ++j) {
      const HeldExpert theirs = state.held(other)[j];
      const bool mine_fits = !state.Holds(other, mine.expert);
      const bool theirs_fits = !state.Holds(hot, theirs.expert);
      if (mine_fits && theirs_fits) {
        Try({.rank_a = hot, .expert_a = mine.expert, .rank_b = other, .expert_b = theirs.expert},
            state);
      }
      if (mine_fits && theirs.copies > 1) {
        Try({.rank_a = other, .expert_a = theirs.expert, .rank_b = -1, .expert_b = mine.expert},
            state);
      }
      if (theirs_fits && mine.copies > 1) {
        Try({.rank_a = hot, .expert_a = mine.expert, .rank_b = -1, .expert_b = theirs.expert},
            state);
      }
    }
  }
}

void CostSearch::Try(const Step& step, LayerState& state) {
  const int moves = state.moves();
  state.Apply(step);
  const double gain = GainOf(step, state);
  const int more_moves = std::max(1, state.moves() - moves);
  state.Undo(step);
  if (gain / more_moves > best_gain_ && state.Allows(step)) {
    best_gain_ = gain / more_moves;
    best_ = step;
  }
}

// Of a step that was taken: a swap changes two ranks, a replacement all that hold either expert.
double CostSearch::GainOf(const Step& step, const LayerState& state) {
  ++num_tried_;
  double gain = 0.0;
  const auto count = [&](int rank) {
    if (std::exchange(seen_[rank], num_tried_) == num_tried_) return;
    gain += rank_power_[rank] - PowerOf(state, rank);
  };
  count(step.rank_a);
  if (!step.is_replacement()) {
    count(step.rank_b);
    return gain;
  }
  state.ForEachHolder(step.expert_a, count);
  state.ForEachHolder(step.expert_b, count);
  return gain;
}

}  // namespace steelyard
