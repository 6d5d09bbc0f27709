#include "plan/steelyard_layer_state.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "plan/steelyard_ledger.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

bool Heavier(const HeldExpert& a, const HeldExpert& b) {
  return a.load != b.load ? a.load > b.load : a.expert < b.expert;
}

/// Orders ranks by heat, of equals the lower rank first.
struct Hotter {
  const double* rank_time;
  bool operator()(int32_t a, int32_t b) const {
    return rank_time[a] != rank_time[b] ? rank_time[a] > rank_time[b] : a < b;
  }
};

}  // namespace

Step Step::Inverse() const {
  if (!is_chain()) {
    return {.rank_a = rank_a, .expert_a = expert_b, .rank_b = rank_b, .expert_b = expert_a};
  }
  return {.rank_a = rank_b,
          .expert_a = expert_a,
          .rank_b = rank_a,
          .expert_b = expert_c,
          .expert_c = expert_b};
}

void LayerState::Prepare(const LayerShape& shape) {
  shape_ = shape;
  const size_t num_experts = shape.num_experts;
  const size_t num_ranks = shape.num_ranks;
  words_per_expert_ = (shape.num_ranks + 63) / 64;
  expert_bins_.assign(num_experts * shape.num_bins, 0.0);
  copy_bins_.assign(num_experts * shape.num_bins, 0.0);
  more_bins_.assign(num_experts * shape.num_bins, 0.0);
  less_bins_.assign(num_experts * shape.num_bins, 0.0);
  expert_load_.assign(num_experts, 0.0);
  copy_load_.assign(num_experts, {});
  copies_.assign(num_experts, 0);
  holders_.assign(num_experts * words_per_expert_, 0);
  base_.assign(num_experts * words_per_expert_, 0);
  held_.assign(shape.num_slots(), {});
  num_held_.assign(num_ranks, 0);
  speed_.assign(num_ranks, 1.0);
  slowness_.assign(num_ranks, 1.0);
  least_slowness_ = 1.0;
  if (shape.topology != nullptr) {
    const double mean = shape.topology->total_speed() / shape.topology->num_live_ranks();
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      const bool dead = shape.topology->is_dead(rank);
      speed_[rank] = shape.topology->speed(rank) / mean;
      slowness_[rank] = dead ? 0.0 : mean / shape.topology->speed(rank);
    }
    const double fastest = *std::max_element(speed_.begin(), speed_.end());
    least_slowness_ = 1.0 / fastest;
  }
  rank_moves_.assign(num_ranks, 0);
  rank_load_.assign(num_ranks, 0.0);
  rank_time_.assign(num_ranks, 0.0);
  rank_bins_.assign(num_ranks * shape.num_bins, 0.0);
  ranks_by_heat_.reserve(num_ranks);
  mark_.assign(num_experts, -1);
}

bool LayerState::SetLoads(Span2<const double> bins) {
  double total = 0.0;
  std::fill(expert_load_.begin(), expert_load_.end(), 0.0);
  for (size_t t = 0; t < bins.num_rows(); ++t) {
    const std::span<const double> row = bins.row(t);
    for (size_t e = 0; e < row.size(); ++e) {
      expert_load_[e] += row[e];
      total += row[e];
    }
  }
  const double scale = kMeanLoad * shape_.num_live_ranks() / total;
  if (!std::isfinite(scale)) {  // none, or so little that it cannot be told apart
    return false;
  }
  for (double& load : expert_load_) {
    load = Whole(load * scale);
  }
  if (has_bins()) {
    for (size_t t = 0; t < bins.num_rows(); ++t) {
      const std::span<const double> row = bins.row(t);
      for (size_t e = 0; e < row.size(); ++e) {
        expert_bins_[BinOffset(static_cast<int>(e)) + t] = Whole(row[e] * scale);
      }
    }
  }
  return true;
}

void LayerState::Assign(std::span<const int32_t> slot_to_expert) {
  std::fill(copies_.begin(), copies_.end(), 0);
  std::fill(holders_.begin(), holders_.end(), 0);
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    const int32_t expert = slot_to_expert[slot];
    if (expert < 0) continue;
    ++copies_[expert];
    FlipHolder(slot / shape_.slots_per_rank, expert);
  }
  for (int expert = 0; expert < shape_.num_experts; ++expert) {
    ComputeCopyLoads(expert);
  }
  std::fill(rank_bins_.begin(), rank_bins_.end(), 0.0);
  ranks_by_heat_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    AssignRank(rank, slot_to_expert.subspan(static_cast<size_t>(rank) * shape_.slots_per_rank,
                                            shape_.slots_per_rank));
    if (num_held_[rank] > 0) ranks_by_heat_.push_back(rank);
  }
  num_ranks_ = static_cast<int>(ranks_by_heat_.size());
  std::sort(ranks_by_heat_.begin(), ranks_by_heat_.end(), Hotter{rank_time_.data()});
  SetBase();
}

void LayerState::AssignRank(int rank, std::span<const int32_t> slots) {
  const auto begin = held_.begin() + static_cast<ptrdiff_t>(rank) * shape_.slots_per_rank;
  auto end = begin;
  for (const int32_t expert : slots) {
    if (expert >= 0) *end++ = {copy_load_[expert].now, expert, copies_[expert]};
  }
  num_held_[rank] = static_cast<int32_t>(end - begin);
  std::sort(begin, end, Heavier);
  double load = 0.0;
  for (auto entry = begin; entry != end; ++entry) {
    load += entry->load;
    for (int t = 0; has_bins() && t < shape_.num_bins; ++t) {
      rank_bins_[BinOffset(rank) + t] += copy_bins_[BinOffset(entry->expert) + t];
    }
  }
  rank_load_[rank] = load;
  rank_time_[rank] = load * slowness_[rank];
}

void LayerState::SetBase() {
  std::copy(holders_.begin(), holders_.end(), base_.begin());
  std::fill(rank_moves_.begin(), rank_moves_.end(), 0);
  moves_ = 0;
}

void LayerState::ComputeCopyLoads(int expert) {
  const int copies = copies_[expert];
  const double load = expert_load_[expert];
  copy_load_[expert] = {.now = Whole(load / copies),
                        .more = Whole(load / (copies + 1)),
                        .less = copies > 1 ? Whole(load / (copies - 1)) : load};
  for (int t = 0; has_bins() && t < shape_.num_bins; ++t) {
    const double in_bin = expert_bins_[BinOffset(expert) + t];
    copy_bins_[BinOffset(expert) + t] = Whole(in_bin / copies);
    more_bins_[BinOffset(expert) + t] = Whole(in_bin / (copies + 1));
    less_bins_[BinOffset(expert) + t] = Whole(in_bin / std::max(1, copies - 1));
  }
}

bool LayerState::LedgerAllows(const Step& step) const {
  const std::array<steelyard::Exchange, 2> exchanges = {
      {{.rank = step.rank_a, .out = step.expert_a, .in = step.expert_b},
       {.rank = step.rank_b, .out = step.given_by_b(), .in = step.expert_a}}};
  return ledger_->Allows({exchanges.data(), step.is_replacement() ? size_t{1} : size_t{2}});
}

BindingLimit LayerState::blocked() const {
  return ledger_ == nullptr ? BindingLimit::kNone : ledger_->blocked();
}

void LayerState::ClearBlocked() {
  if (ledger_ != nullptr) ledger_->ClearBlocked();
}

void LayerState::Apply(const Step& step) {
  if (log_ != nullptr) log_->push_back(step);
  Take(step);
}

void LayerState::Undo(const Step& step) {
  if (log_ != nullptr) log_->pop_back();
  Take(step.Inverse());
}

void LayerState::Take(const Step& step) {
  Exchange(step.rank_a, step.expert_a, step.expert_b);
  if (step.is_replacement()) {
    SetCopies(step.expert_a, copies_[step.expert_a] - 1);
    SetCopies(step.expert_b, copies_[step.expert_b] + 1);
    return;
  }
  Exchange(step.rank_b, step.given_by_b(), step.expert_a);
  if (step.is_chain()) {
    SetCopies(step.expert_c, copies_[step.expert_c] - 1);
    SetCopies(step.expert_b, copies_[step.expert_b] + 1);
  }
}

void LayerState::Exchange(int rank, int out_expert, int in_expert) {
  FlipHolder(rank, out_expert);
  FlipHolder(rank, in_expert);
  if (ledger_ != nullptr) ledger_->Note({.rank = rank, .out = out_expert, .in = in_expert});
  const int moves = MovesOf(rank, out_expert, in_expert);
  moves_ += moves;
  rank_moves_[rank] += moves;
  const double in_load = copy_load_[in_expert].now;
  SetHeld(rank, out_expert, {in_load, in_expert, copies_[in_expert]});
  AddToRank(rank, in_load - copy_load_[out_expert].now);
  for (int t = 0; has_bins() && t < shape_.num_bins; ++t) {
    rank_bins_[BinOffset(rank) + t] +=
        copy_bins_[BinOffset(in_expert) + t] - copy_bins_[BinOffset(out_expert) + t];
  }
}

void LayerState::SetCopies(int expert, int copies) {
  const double old_load = copy_load_[expert].now;
  for (int t = 0; has_bins() && t < shape_.num_bins; ++t) {
    const double delta =
        Whole(expert_bins_[BinOffset(expert) + t] / copies) - copy_bins_[BinOffset(expert) + t];
    ForEachHolder(expert, [&](int rank) { rank_bins_[BinOffset(rank) + t] += delta; });
  }
  copies_[expert] = copies;
  ComputeCopyLoads(expert);
  const double load = copy_load_[expert].now;
  ForEachHolder(expert, [&](int rank) {
    SetHeld(rank, expert, {load, expert, copies});
    AddToRank(rank, load - old_load);
  });
}

// Finds the rank's place by bisection before and after, and shifts those between: one short
// memmove, cheaper than any tree up to thousands of ranks, and every place in the order stays at
// hand.
void LayerState::AddToRank(int rank, double delta) {
  const Hotter hotter = {rank_time_.data()};
  const auto begin = ranks_by_heat_.begin();
  const auto end = ranks_by_heat_.end();
  const auto from = std::lower_bound(begin, end, rank, hotter);
  rank_load_[rank] += delta;
  rank_time_[rank] = rank_load_[rank] * slowness_[rank];
  if (delta > 0.0) {
    const auto to = std::lower_bound(begin, from, rank, hotter);
    std::copy_backward(to, from, from + 1);
    *to = rank;
  } else {
    const auto to = std::lower_bound(from + 1, end, rank, hotter);
    std::copy(from + 1, to, from);
    *(to - 1) = rank;
  }
}

void LayerState::SetHeld(int rank, int old_expert, HeldExpert entry) {
  HeldExpert* held = held_.data() + static_cast<size_t>(rank) * shape_.slots_per_rank;
  int i = 0;
  while (held[i].expert != old_expert) ++i;
  for (; i > 0 && Heavier(entry, held[i - 1]); --i) held[i] = held[i - 1];
  for (const int last = num_held_[rank] - 1; i < last && Heavier(held[i + 1], entry); ++i)
    held[i] = held[i + 1];
  held[i] = entry;
}

double LayerState::Objective() const {
  if (!has_bins()) {
    return max_rank_time();
  }
  double sum = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    double largest = 0.0;
    for (int rank = 0; rank < shape_.num_ranks; ++rank) {
      largest = std::max(largest, rank_bins_[BinOffset(rank) + t] * slowness_[rank]);
    }
    sum += largest;
  }
  return sum;
}

void LayerState::WriteSlots(std::span<const int32_t> current, std::span<int32_t> slot_to_expert) {
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const int begin = rank * shape_.slots_per_rank;
    const int end = begin + shape_.slots_per_rank;
    // mark_[e] == rank: this rank already has a slot for e.
    for (int slot = begin; slot < end; ++slot) {
      const int32_t expert = current[slot];
      if (expert == kClosedSlot) {
        slot_to_expert[slot] = kClosedSlot;
        continue;
      }
      const bool stays = expert >= 0 && Holds(rank, expert) && mark_[expert] != rank;
      slot_to_expert[slot] = stays ? expert : kNoExpert;
      if (stays) mark_[expert] = rank;
    }
    int free_slot = begin;
    for (const HeldExpert& entry : held(rank)) {
      if (std::exchange(mark_[entry.expert], rank) == rank) continue;
      while (slot_to_expert[free_slot] != kNoExpert) ++free_slot;
      slot_to_expert[free_slot] = entry.expert;
    }
  }
  std::fill(mark_.begin(), mark_.end(), -1);
}

}  // namespace steelyard
