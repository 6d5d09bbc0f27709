#include "plan/steelyard_cost.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace steelyard {
namespace {

constexpr size_t kMaxStepsPerRank = 4;
constexpr size_t kNumHot = 2;
constexpr size_t kNumPartners = 5;
// Bins that are summed side by side, so that compilers take them together.
constexpr size_t kLanes = 2;

double EighthPower(double x) {
  const double square = x * x;
  const double fourth = square * square;
  return fourth * fourth;
}

}  // namespace

void CostSearch::Prepare(const LayerShape& shape, const Topology& topology) {
  shape_ = shape;
  topology_ = &topology;
  padded_bins_ = (shape.num_bins + kLanes - 1) / kLanes * kLanes;
  token_cost_.assign(BinOffset(shape.num_experts), 0.0);
  active_cost_.assign(token_cost_.size(), 0.0);
  token_base_.assign(padded_bins_, 0.0);
  active_base_.assign(padded_bins_, 0.0);
  by_tokens_.assign(BinOffset(shape.num_ranks), 0.0);
  by_active_.assign(by_tokens_.size(), 0.0);
  rank_cost_.assign(shape.num_ranks, 0.0);
  rank_power_.assign(shape.num_ranks, 0.0);
  ranks_.reserve(shape.num_ranks);
  path_.Prepare(kMaxStepsPerRank * shape.num_ranks);
}

void CostSearch::Begin(Span2<const double> bins, std::span<const double> weights,
                       const RankCost& cost) {
  const double num_ranks = topology_->num_live_ranks();
  double level = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    const std::span<const double> row = bins.row(t);
    double total = 0.0;
    int active = 0;
    for (const double load : row) {
      total += load;
      active += load > 0.0 ? 1 : 0;
    }
    const double weight = weights[t];
    level += std::max(weight * (cost.a * num_ranks + cost.b * active),
                      weight * cost.c * num_ranks + cost.d * total) /
             topology_->total_speed();
    token_base_[t] = weight * cost.c;
    active_base_[t] = weight * cost.a;
    for (int e = 0; e < shape_.num_experts; ++e) {
      token_cost_[BinOffset(e) + t] = cost.d * row[e];
      active_cost_[BinOffset(e) + t] = row[e] > 0.0 ? weight * cost.b : 0.0;
    }
  }
  has_load_ = level > 0.0;
  if (!has_load_) return;
  for (std::vector<double>* costs : {&token_cost_, &active_cost_, &token_base_, &active_base_}) {
    for (double& value : *costs) value /= level;
  }
}

double CostSearch::CostOf(int rank, size_t bin_idx) const {
  return std::max(active_base_[bin_idx] + by_active_[BinOffset(rank) + bin_idx],
                  token_base_[bin_idx] + by_tokens_[BinOffset(rank) + bin_idx]) /
         topology_->speed(rank);
}

void CostSearch::ReadRank(const LayerState& state, int rank) {
  double* by_tokens = by_tokens_.data() + BinOffset(rank);
  double* by_active = by_active_.data() + BinOffset(rank);
  std::fill_n(by_tokens, padded_bins_, 0.0);
  std::fill_n(by_active, padded_bins_, 0.0);
  for (const HeldExpert& held : state.held(rank)) {
    const double* tokens = token_cost_.data() + BinOffset(held.expert);
    const double* active = active_cost_.data() + BinOffset(held.expert);
    const double part = 1.0 / held.copies;
    for (size_t t = 0; t < padded_bins_; ++t) {
      by_tokens[t] += part * tokens[t];
      by_active[t] += active[t];
    }
  }
}

double CostSearch::PowerAfter(int rank, const Change& a, const Change& b) const {
  const double* by_tokens = by_tokens_.data() + BinOffset(rank);
  const double* by_active = by_active_.data() + BinOffset(rank);
  const double* tokens_a = token_cost_.data() + BinOffset(a.expert);
  const double* tokens_b = token_cost_.data() + BinOffset(b.expert);
  const double* active_a = active_cost_.data() + BinOffset(a.expert);
  const double* active_b = active_cost_.data() + BinOffset(b.expert);
  std::array<double, kLanes> power = {};
  for (size_t t = 0; t < padded_bins_; t += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const size_t at = t + lane;
      const double tokens =
          token_base_[at] + by_tokens[at] + a.parts * tokens_a[at] + b.parts * tokens_b[at];
      const double active =
          active_base_[at] + by_active[at] + a.copies * active_a[at] + b.copies * active_b[at];
      power[lane] += EighthPower(tokens > active ? tokens : active);
    }
  }
  return std::accumulate(power.begin(), power.end(), 0.0) / EighthPower(topology_->speed(rank));
}

double CostSearch::Objective(const LayerState& state) {
  if (!has_load_) return 0.0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) ReadRank(state, rank);
  double objective = 0.0;
  for (size_t t = 0; t < padded_bins_; ++t) {
    double largest = 0.0;
    for (int rank = 0; rank < shape_.num_ranks; ++rank) {
      if (!topology_->is_dead(rank)) largest = std::max(largest, CostOf(rank, t));
    }
    objective += largest;
  }
  return objective * LayerState::kMeanLoad;
}

void CostSearch::Run(double price, LayerState& state) {
  if (!has_load_) return;
  path_.Follow(
      price, LayerState::kMeanLoad, state, [&] { return Objective(state); },
      [&] { return FindStep(state); });
}

void CostSearch::OrderRanks(const LayerState& state) {
  ranks_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (topology_->is_dead(rank)) continue;
    ranks_.push_back(rank);
    ReadRank(state, rank);
    rank_cost_[rank] = 0.0;
    for (size_t t = 0; t < padded_bins_; ++t) rank_cost_[rank] += CostOf(rank, t);
    rank_power_[rank] = PowerAfter(rank, {}, {});
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

void CostSearch::TryPair(int hot, int other, const LayerState& state) {
  for (const HeldExpert& mine : state.held(hot)) {
    for (const HeldExpert& theirs : state.held(other)) {
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

void CostSearch::Try(const Step& step, const LayerState& state) {
  int moves = state.MovesOf(step.rank_a, step.expert_a, step.expert_b);
  if (!step.is_replacement()) moves += state.MovesOf(step.rank_b, step.expert_b, step.expert_a);
  const double gain = GainOf(step, state) / std::max(1, moves);
  if (gain > best_gain_ && state.Allows(step)) {
    best_gain_ = gain;
    best_ = step;
  }
}

// A swap changes two ranks, a replacement all that hold either expert.
double CostSearch::GainOf(const Step& step, const LayerState& state) const {
  const int out = step.expert_a;
  const int in = step.expert_b;
  const double part_out = 1.0 / state.copies(out);
  const double part_in = 1.0 / state.copies(in);
  double gain = 0.0;
  const auto count = [&](int rank, const Change& a, const Change& b) {
    gain += rank_power_[rank] - PowerAfter(rank, a, b);
  };
  if (!step.is_replacement()) {
    count(step.rank_a, {out, -part_out, -1.0}, {in, part_in, 1.0});
    count(step.rank_b, {out, part_out, 1.0}, {in, -part_in, -1.0});
    return gain;
  }
  const double part_in_after = 1.0 / (state.copies(in) + 1);
  const Change fewer = {out, 1.0 / (state.copies(out) - 1) - part_out, 0.0};
  const Change more = {in, part_in_after - part_in, 0.0};
  count(step.rank_a, {out, -part_out, -1.0}, {in, part_in_after, 1.0});
  state.ForEachHolder(out, [&](int rank) {
    if (rank == step.rank_a) return;
    count(rank, fewer, state.Holds(rank, in) ? more : Change{in, 0.0, 0.0});
  });
  state.ForEachHolder(in, [&](int rank) {
    if (!state.Holds(rank, out)) count(rank, more, {out, 0.0, 0.0});
  });
  return gain;
}

}  // namespace steelyard
