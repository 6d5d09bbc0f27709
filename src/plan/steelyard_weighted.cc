#include "plan/steelyard_weighted.h"

#include <algorithm>
#include <cmath>

#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

constexpr size_t kMaxStepsPerRank = 8;
// Of candidates of one kind so many are solved for; measured on 58 x 256 on 32 x 9: with half as
// many a layer takes a move more.
constexpr size_t kMaxTried = 12;
constexpr size_t kNumExperts = 24;
constexpr size_t kNumRanks = 4;
constexpr size_t kNumChainExperts = 6;
constexpr size_t kNumChainSpares = 12;
// A level this close is the same.
constexpr double kSameLevel = 1e-9;

}  // namespace

void WeightedSearch::Prepare(const LayerShape& shape, const Topology& topology) {
  topology_ = &topology;
  solver_.Prepare(shape.num_experts, topology);
  mean_speed_ = topology.total_speed() / topology.num_live_ranks();
  slots_.assign(shape.num_slots(), kNoExpert);
  shares_.assign(shape.num_slots(), 0.0);
  rank_time_.assign(shape.num_ranks, 0.0);
  is_hot_.assign(shape.num_ranks, 0);
  cool_.reserve(shape.num_ranks);
  spares_.reserve(shape.num_slots());
  confined_.reserve(shape.num_experts);
  seen_.assign(shape.num_experts, 0);
  const size_t num_chains = kNumChainExperts * kNumRanks * kNumChainSpares;
  const size_t num_swaps = shape.num_experts * kNumRanks;
  candidates_.reserve(
      std::max((num_chains + num_swaps) * shape.slots_per_rank, kNumExperts * shape.num_slots()));
  path_.Prepare(kMaxStepsPerRank * shape.num_ranks);
}

double WeightedSearch::Level(LayerState& state) {
  state.WriteSlots(fitter_->reference(), slots_);
  fitter_->Finish(slots_);
  return solver_.Solve(state.expert_loads(), slots_, *topology_, shares_) * mean_speed_;
}

void WeightedSearch::Run(double price, double lower_bound, LayerState& state) {
  path_.Follow(
      price, lower_bound, state, [&] { return level_ = Level(state); },
      [&] { return FindStep(state, price); });
}

/// Requires: the last Level() was of this state.
Step WeightedSearch::FindStep(LayerState& state, double price) {
  ReadBottleneck(state);
  ListSpares(state);
  best_ = {};
  best_value_ = level_;
  ListAdds(state);
  TryCandidates(state, price);
  if (!best_.is_some()) {
    ListChains(state);
    ListSwaps(state);
    TryCandidates(state, price);
  }
  return best_;
}

void WeightedSearch::ReadBottleneck(const LayerState& state) {
  const std::span<const double> loads = solver_.rank_loads();
  std::fill(is_hot_.begin(), is_hot_.end(), 0);
  num_hot_ = solver_.bottleneck_ranks().size();
  hot_load_ = 0.0;
  hot_speed_ = 0.0;
  for (const int32_t rank : solver_.bottleneck_ranks()) {
    is_hot_[rank] = 1;
    hot_load_ += loads[rank];
    hot_speed_ += topology_->speed(rank) / mean_speed_;
  }
  surplus_ = hot_load_ - LayerState::kMeanLoad * hot_speed_;
  cool_.clear();
  for (int rank = 0; rank < topology_->num_ranks(); ++rank) {
    if (topology_->is_dead(rank)) continue;
    rank_time_[rank] = loads[rank] * state.slowness(rank);
    if (is_hot_[rank] == 0) cool_.push_back(rank);
  }
  std::sort(cool_.begin(), cool_.end(), [this](int32_t a, int32_t b) {
    return rank_time_[a] != rank_time_[b] ? rank_time_[a] < rank_time_[b] : a < b;
  });
  std::fill(seen_.begin(), seen_.end(), 0);
  confined_.clear();
  for (const int32_t rank : solver_.bottleneck_ranks()) {
    for (const HeldExpert& held : state.held(rank)) {
      if (seen_[held.expert] != 0) continue;
      seen_[held.expert] = 1;
      if (IsConfined(state, held.expert)) confined_.push_back(held.expert);
    }
  }
  std::sort(confined_.begin(), confined_.end(), [&state](int32_t a, int32_t b) {
    const std::span<const double> expert_loads = state.expert_loads();
    return expert_loads[a] != expert_loads[b] ? expert_loads[a] > expert_loads[b] : a < b;
  });
}

bool WeightedSearch::IsConfined(const LayerState& state, int expert) const {
  bool confined = state.expert_loads()[expert] > 0.0;
  state.ForEachHolder(expert, [&](int rank) { confined = confined && is_hot_[rank] != 0; });
  return confined;
}

void WeightedSearch::ListSpares(const LayerState& state) {
  spares_.clear();
  for (const int32_t rank : cool_) {
    const int begin = topology_->first_slot_of_rank(rank);
    for (int slot = begin; slot < begin + topology_->live_slots(rank); ++slot) {
      const int32_t expert = slots_[slot];
      // A duplicate that a limit keeps may stand there after its rank gave the other copy up.
      if (expert < 0 || state.copies(expert) < 2 || !state.Holds(rank, expert)) continue;
      const double taken = state.expert_loads()[expert] * shares_[slot];
      const double more = taken / (state.copies(expert) - 1);
      double others = 0.0;
      state.ForEachHolder(expert, [&](int holder) {
        if (holder == rank) return;
        others = std::max(others, rank_time_[holder] + more * state.slowness(holder));
      });
      spares_.push_back({rank, expert, taken, others});
    }
  }
}

void WeightedSearch::ListAdds(const LayerState& state) {
  candidates_.clear();
  for (size_t i = 0; i < std::min(confined_.size(), kNumExperts); ++i) {
    const int32_t expert = confined_[i];
    // More than its surplus the bottleneck need not lose.
    const double out = std::min(state.expert_loads()[expert], surplus_);
    const double left = (hot_load_ - out) / hot_speed_;
    for (const Spare& spare : spares_) {
      if (spare.expert == expert || state.Holds(spare.rank, expert)) continue;
      const double taker =
          rank_time_[spare.rank] + (out - spare.taken) * state.slowness(spare.rank);
      candidates_.push_back(
          {std::max({left, taker, spare.others}),
           {.rank_a = spare.rank, .expert_a = spare.expert, .rank_b = -1, .expert_b = expert}});
    }
  }
}

/// What is alone on a cool rank makes way for a confined expert: it moves over a redundant copy of
/// another cool rank.
void WeightedSearch::ListChains(const LayerState& state) {
  candidates_.clear();
  for (size_t i = 0; i < std::min(confined_.size(), kNumChainExperts); ++i) {
    const int32_t expert = confined_[i];
    const double out = std::min(state.expert_loads()[expert], surplus_);
    for (size_t j = 0; j < std::min(cool_.size(), kNumRanks); ++j) {
      const int32_t rank = cool_[j];
      if (state.Holds(rank, expert)) continue;
      for (size_t k = 0; k < std::min(spares_.size(), kNumChainSpares); ++k) {
        const Spare& spare = spares_[k];
        if (spare.rank == rank || spare.expert == expert) continue;
        for (const HeldExpert& way : state.held(rank)) {
          if (way.copies > 1 || state.Holds(spare.rank, way.expert)) continue;
          const double taker =
              rank_time_[spare.rank] + (way.load - spare.taken) * state.slowness(spare.rank);
          const double own = rank_time_[rank] + (out - way.load) * state.slowness(rank);
          candidates_.push_back({std::max({taker, own, spare.others}),
                                 {.rank_a = rank,
                                  .expert_a = way.expert,
                                  .rank_b = spare.rank,
                                  .expert_b = expert,
                                  .expert_c = spare.expert}});
        }
      }
    }
  }
}

/// A single copy of the bottleneck for a lighter one of a cool rank, by how near that comes to what
/// should leave.
void WeightedSearch::ListSwaps(const LayerState& state) {
  for (const int32_t expert : confined_) {
    if (state.copies(expert) > 1) continue;
    int rank = -1;
    state.ForEachHolder(expert, [&rank](int holder) { rank = holder; });
    for (size_t j = 0; j < std::min(cool_.size(), kNumRanks); ++j) {
      const int32_t cool = cool_[j];
      const double gap =
          (rank_time_[rank] - rank_time_[cool]) / (state.slowness(rank) + state.slowness(cool));
      const double target = std::min(surplus_, gap);
      for (const HeldExpert& theirs : state.held(cool)) {
        if (theirs.copies > 1 || state.Holds(rank, theirs.expert)) continue;
        const double shift = state.expert_loads()[expert] - state.expert_loads()[theirs.expert];
        if (shift <= 0.0) continue;
        candidates_.push_back(
            {level_ + std::fabs(shift - target),
             {.rank_a = rank, .expert_a = expert, .rank_b = cool, .expert_b = theirs.expert}});
      }
    }
  }
}

// Solves for the most promising ones. A step that leaves the level as it is, but fewer ranks at it,
// is on the way: there was more than one bottleneck.
void WeightedSearch::TryCandidates(LayerState& state, double price) {
  const auto before = [](const Candidate& a, const Candidate& b) {
    if (a.estimate != b.estimate) return a.estimate < b.estimate;
    const Step& s = a.step;
    const Step& t = b.step;
    if (s.rank_a != t.rank_a) return s.rank_a < t.rank_a;
    if (s.expert_a != t.expert_a) return s.expert_a < t.expert_a;
    if (s.rank_b != t.rank_b) return s.rank_b < t.rank_b;
    return s.expert_b != t.expert_b ? s.expert_b < t.expert_b : s.expert_c < t.expert_c;
  };
  const size_t num_tried = std::min(kMaxTried, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(num_tried),
                    candidates_.end(), before);
  const double level = level_;
  const size_t num_hot = num_hot_;
  for (size_t i = 0; i < num_tried; ++i) {
    const Step step = candidates_[i].step;
    const int moves = state.moves();
    if (!state.Allows(step)) continue;
    state.Apply(step);
    const double reached = Level(state);
    const double value = reached + price * (state.moves() - moves);
    const bool separates = value >= level && reached <= level * (1.0 + kSameLevel) &&
                           solver_.bottleneck_ranks().size() < num_hot;
    state.Undo(step);
    if (value < best_value_ || (separates && !best_.is_some())) {
      best_value_ = std::min(value, level);
      best_ = step;
    }
  }
}

}  // namespace steelyard
