#include "plan/steelyard_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "plan/plan_builder.h"
#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

void LayerFitter::Prepare(const LayerShape& shape, const Topology& topology) {
  shape_ = shape;
  topology_ = &topology;
  reference_.assign(shape.num_slots(), kNoExpert);
  copies_.assign(shape.num_experts, 0);
  held_by_.assign(shape.num_experts, -1);
  own_.reserve(shape.slots_per_rank);
  order_.reserve(shape.num_experts);
  duplicates_.reserve(shape.num_slots());
  kept_duplicates_.reserve(shape.num_slots());
}

Status LayerFitter::Fit(std::span<const double> expert_loads, const RowInForce& in_force,
                        MoveLedger* ledger, int max_replaced, std::span<int32_t> fitted) {
  loads_ = expert_loads;
  ledger_ = ledger;
  max_replaced_ = max_replaced;
  num_replaced_ = 0;
  fitted_ = fitted;
  duplicates_.clear();
  kept_duplicates_.clear();
  duplicate_limit_ = BindingLimit::kNone;
  if (CopyPlain(in_force)) {
    if (ledger_ != nullptr) ledger_->Assign(fitted_);
    return Status::Ok();
  }
  TakeOver(in_force);
  if (ledger_ != nullptr) ledger_->Assign(fitted_);
  STEELYARD_RETURN_IF_ERROR(RehomeLost());
  return FillFreeSlots();
}

void LayerFitter::Finish(std::span<int32_t> slot_to_expert) const {
  if (topology_->is_plain() && kept_duplicates_.empty()) return;
  for (int32_t& expert : slot_to_expert) {
    if (expert == kClosedSlot) expert = kNoExpert;
  }
  for (const KeptDuplicate& kept : kept_duplicates_) slot_to_expert[kept.slot] = kept.expert;
}

/// The common case: the same slots, all live, and nothing twice on a rank.
bool LayerFitter::CopyPlain(const RowInForce& in_force) {
  if (!topology_->is_plain() || in_force.num_ranks != shape_.num_ranks ||
      in_force.slots_per_rank != shape_.slots_per_rank) {
    return false;
  }
  std::fill(held_by_.begin(), held_by_.end(), -1);
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    for (const int32_t expert : in_force.rank(rank)) {
      if (expert < 0 || std::exchange(held_by_[expert], rank) == rank) return false;
    }
  }
  std::copy(in_force.slot_to_expert.begin(), in_force.slot_to_expert.end(), fitted_.begin());
  std::copy(fitted_.begin(), fitted_.end(), reference_.begin());
  return true;
}

void LayerFitter::TakeOver(const RowInForce& in_force) {
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    fitted_[slot] = topology_->is_live_slot(slot) ? kNoExpert : kClosedSlot;
  }
  std::copy(fitted_.begin(), fitted_.end(), reference_.begin());
  // Which copies are redundant depends on all ranks.
  std::fill(copies_.begin(), copies_.end(), 0);
  std::fill(held_by_.begin(), held_by_.end(), -1);
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (topology_->is_dead(rank)) continue;
    for (const int32_t expert : in_force.rank(rank)) {
      if (expert >= 0 && std::exchange(held_by_[expert], rank) != rank) ++copies_[expert];
    }
  }
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (!topology_->is_dead(rank)) TakeOverRank(rank, in_force.rank(rank));
  }
}

void LayerFitter::TakeOverRank(int rank, std::span<const int32_t> in_force) {
  const std::span<int32_t> slots = row(rank);
  const size_t num_slots = topology_->live_slots(rank);
  own_.clear();
  for (size_t i = 0; i < in_force.size(); ++i) {
    const int32_t expert = in_force[i];
    if (expert < 0) continue;
    const bool twice = std::find(own_.begin(), own_.end(), expert) != own_.end();
    if (!twice) own_.push_back(expert);
    if (i >= num_slots) continue;
    const int32_t slot = topology_->first_slot_of_rank(rank) + static_cast<int32_t>(i);
    if (twice) {
      duplicates_.push_back({slot, expert});
    } else {
      slots[i] = expert;
      reference_[slot] = expert;
    }
  }
  DropExcess(num_slots);
  for (int32_t& expert : slots) {
    const bool stays = std::find(own_.begin(), own_.end(), expert) != own_.end();
    if (expert >= 0 && !stays) expert = kNoExpert;
  }
  // What stood in slots that the rank no longer has.
  for (const int32_t expert : own_) {
    if (!Holds(rank, expert)) *std::find(slots.begin(), slots.end(), kNoExpert) = expert;
  }
}

void LayerFitter::DropExcess(size_t num_slots) {
  // Redundant copies before others, then by the load that a copy carries afterwards.
  const auto drops_before = [this](int32_t a, int32_t b) {
    const bool spare_a = copies_[a] > 1;
    const bool spare_b = copies_[b] > 1;
    if (spare_a != spare_b) return spare_a;
    const double load_a = loads_[a] / std::max(1, copies_[a] - 1);
    const double load_b = loads_[b] / std::max(1, copies_[b] - 1);
    return load_a != load_b ? load_a < load_b : a < b;
  };
  while (own_.size() > num_slots) {
    const auto dropped = std::min_element(own_.begin(), own_.end(), drops_before);
    --copies_[*dropped];
    own_.erase(dropped);
  }
}

Status LayerFitter::RehomeLost() {
  order_.clear();
  for (int32_t expert = 0; expert < shape_.num_experts; ++expert) {
    if (copies_[expert] == 0) order_.push_back(expert);
  }
  std::sort(order_.begin(), order_.end(), [this](int32_t a, int32_t b) {
    return loads_[a] != loads_[b] ? loads_[a] > loads_[b] : a < b;
  });
  for (const int32_t expert : order_) {
    STEELYARD_RETURN_IF_ERROR(Rehome(expert));
  }
  return Status::Ok();
}

Status LayerFitter::Rehome(int expert) {
  int rank = RoomFor(expert, false);
  int slot = rank < 0 ? -1 : FreeSlot(rank);
  if (rank < 0) {
    rank = RoomFor(expert, true);
    slot = rank < 0 ? -1 : RedundantSlot(rank);
  }
  if (rank < 0) {
    return FailedPrecondition(Forbids(fmt::format("expert {} has no live slot", expert)));
  }
  Put(slot, expert);
  return Status::Ok();
}

/// The coolest rank that may take `expert`, -1 where there is none.
int LayerFitter::RoomFor(int expert, bool over_redundant) const {
  int coolest = -1;
  double least = 0.0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const int slot = over_redundant ? RedundantSlot(rank) : FreeSlot(rank);
    if (slot < 0 || Holds(rank, expert)) continue;
    const double time = RankTime(rank);
    if (coolest >= 0 && time >= least) continue;
    if (!Allows(rank, fitted_[slot], expert)) continue;
    coolest = rank;
    least = time;
  }
  return coolest;
}

int LayerFitter::FreeSlot(int rank) const {
  const int begin = topology_->first_slot_of_rank(rank);
  for (int slot = begin; slot < begin + topology_->live_slots(rank); ++slot) {
    if (fitted_[slot] == kNoExpert) return slot;
  }
  return -1;
}

/// That of the redundant copy that others take over most easily, -1 where there is none.
int LayerFitter::RedundantSlot(int rank) const {
  const int begin = topology_->first_slot_of_rank(rank);
  int lightest = -1;
  double least = 0.0;
  for (int slot = begin; slot < begin + topology_->live_slots(rank); ++slot) {
    const int32_t expert = fitted_[slot];
    if (expert < 0 || copies_[expert] < 2) continue;
    const double load = loads_[expert] / (copies_[expert] - 1);
    if (lightest >= 0 && load >= least) continue;
    lightest = slot;
    least = load;
  }
  return lightest;
}

Status LayerFitter::FillFreeSlots() {
  for (int slot = 0; slot < shape_.num_slots(); ++slot) {
    if (fitted_[slot] != kNoExpert) continue;
    const int rank = topology_->rank_of_slot(slot);
    const auto duplicate =
        std::find_if(duplicates_.begin(), duplicates_.end(),
                     [slot](const KeptDuplicate& held) { return held.slot == slot; });
    const bool was_duplicate = duplicate != duplicates_.end();
    const bool may_fill = !was_duplicate || num_replaced_ < max_replaced_;
    if (may_fill && Fill(rank, slot)) {
      num_replaced_ += was_duplicate ? 1 : 0;
      continue;
    }
    if (!was_duplicate) {
      return FailedPrecondition(Forbids(fmt::format("a slot of rank {} would stay empty", rank)));
    }
    if (may_fill && ledger_ != nullptr) duplicate_limit_ = ledger_->blocked();
    kept_duplicates_.push_back(*duplicate);
    fitted_[slot] = kClosedSlot;
    reference_[slot] = kClosedSlot;
  }
  return Status::Ok();
}

bool LayerFitter::Fill(int rank, int slot) {
  order_.clear();
  for (int32_t expert = 0; expert < shape_.num_experts; ++expert) {
    if (!Holds(rank, expert)) order_.push_back(expert);
  }
  const auto lighter = [this](int32_t a, int32_t b) {
    const double load_a = loads_[a] / copies_[a];
    const double load_b = loads_[b] / copies_[b];
    return load_a != load_b ? load_a < load_b : a > b;
  };
  std::make_heap(order_.begin(), order_.end(), lighter);
  while (!order_.empty()) {
    std::pop_heap(order_.begin(), order_.end(), lighter);
    if (Allows(rank, -1, order_.back())) {
      Put(slot, order_.back());
      return true;
    }
    order_.pop_back();
  }
  return false;
}

void LayerFitter::Put(int slot, int expert) {
  if (fitted_[slot] >= 0) --copies_[fitted_[slot]];
  if (ledger_ != nullptr) {
    ledger_->Note({.rank = topology_->rank_of_slot(slot), .out = fitted_[slot], .in = expert});
  }
  fitted_[slot] = expert;
  ++copies_[expert];
}

bool LayerFitter::Allows(int rank, int out, int in) const {
  const Exchange exchange = {.rank = rank, .out = out, .in = in};
  return ledger_ == nullptr || ledger_->Allows({&exchange, 1});
}

bool LayerFitter::Holds(int rank, int expert) const {
  const std::span<int32_t> slots = row(rank);
  return std::find(slots.begin(), slots.end(), expert) != slots.end();
}

double LayerFitter::RankTime(int rank) const {
  double load = 0.0;
  for (const int32_t expert : row(rank)) {
    if (expert >= 0) load += loads_[expert] / copies_[expert];
  }
  return load / topology_->speed(rank);
}

std::span<int32_t> LayerFitter::row(int rank) const {
  return fitted_.subspan(topology_->first_slot_of_rank(rank), shape_.slots_per_rank);
}

std::string LayerFitter::Forbids(std::string_view what) const {
  const BindingLimit limit = ledger_ == nullptr ? BindingLimit::kNone : ledger_->blocked();
  return fmt::format("{}: {} forbids every move to it", what, LimitText(limit));
}

}  // namespace steelyard
