#include "plan/steelyard_scratch.h"

#include <algorithm>
#include <numeric>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

void ScratchPlacer::Prepare(const LayerShape& shape) {
  shape_ = shape;
  copy_load_.assign(shape.num_experts, 0.0);
  by_load_.assign(shape.num_experts, 0);
  used_.assign(shape.num_ranks, 0);
  rank_load_.assign(shape.num_ranks, 0.0);
  open_.reserve(shape.num_ranks);
  taken_.reserve(shape.num_ranks);
}

void ScratchPlacer::Place(std::span<const double> expert_loads, std::span<const int32_t> copies,
                          std::span<int32_t> slot_to_expert) {
  slots_ = slot_to_expert;
  copies_ = copies;
  for (int expert = 0; expert < shape_.num_experts; ++expert) {
    copy_load_[expert] = expert_loads[expert] / copies_[expert];
  }
  std::iota(by_load_.begin(), by_load_.end(), 0);
  std::sort(by_load_.begin(), by_load_.end(), [this](int32_t a, int32_t b) {
    return copy_load_[a] != copy_load_[b] ? copy_load_[a] > copy_load_[b] : a < b;
  });
  std::fill(used_.begin(), used_.end(), 0);
  std::fill(rank_load_.begin(), rank_load_.end(), 0.0);
  open_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    open_.push_back({0.0, rank});  // in order, so already a heap
  }
  has_holes_ = false;
  for (int slot = 0; shape_.topology != nullptr && slot < shape_.num_slots(); ++slot) {
    slots_[slot] = shape_.topology->is_live_slot(slot) ? kNoExpert : kClosedSlot;
  }
  for (const int32_t expert : by_load_) {
    if (shape_.topology == nullptr) {
      DealOut(expert);
    } else {
      DealOutBySpeed(expert);
    }
  }
  if (has_holes_) FillHoles();
}

void ScratchPlacer::DealOut(int expert) {
  const auto hotter = [](const OpenRank& a, const OpenRank& b) {
    return a.load != b.load ? a.load > b.load : a.rank > b.rank;
  };
  taken_.clear();
  int left = copies_[expert];
  for (; left > 0 && !open_.empty(); --left) {
    std::pop_heap(open_.begin(), open_.end(), hotter);
    Put(open_.back().rank, expert);
    taken_.push_back(open_.back());
    open_.pop_back();
  }
  for (const OpenRank& taken : taken_) {
    if (HasRoom(taken.rank)) {
      open_.push_back({rank_load_[taken.rank], taken.rank});
      std::push_heap(open_.begin(), open_.end(), hotter);
    }
  }
  if (left == 0) return;
  for (; left > 0; --left) {
    PlaceByExchange(expert);
  }
  // Exchanges changed loads and rooms anywhere.
  open_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (HasRoom(rank)) open_.push_back({rank_load_[rank], rank});
  }
  std::make_heap(open_.begin(), open_.end(), hotter);
}

void ScratchPlacer::DealOutBySpeed(int expert) {
  const double load = copy_load_[expert];
  for (int left = copies_[expert]; left > 0; --left) {
    int coolest = -1;
    double least = 0.0;
    for (int rank = 0; rank < shape_.num_ranks; ++rank) {
      if (!HasRoom(rank) || Holds(rank, expert)) continue;
      const double time = (rank_load_[rank] + load) / shape_.topology->speed(rank);
      if (coolest >= 0 && time >= least) continue;
      coolest = rank;
      least = time;
    }
    if (coolest >= 0) {
      Put(coolest, expert);
    } else if (!PlaceByExchange(expert)) {
      has_holes_ = true;
    }
  }
}

void ScratchPlacer::FillHoles() {
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    while (HasRoom(rank)) {
      const auto lacking = std::find_if(by_load_.begin(), by_load_.end(),
                                        [&](int32_t expert) { return !Holds(rank, expert); });
      Put(rank, *lacking);
    }
  }
}

void ScratchPlacer::Put(int rank, int expert) {
  slots_[rank * shape_.slots_per_rank + used_[rank]++] = expert;
  rank_load_[rank] += copy_load_[expert];
}

bool ScratchPlacer::Holds(int rank, int expert) const {
  const int32_t* begin = slots_.data() + rank * shape_.slots_per_rank;
  return std::find(begin, begin + used_[rank], expert) != begin + used_[rank];
}

// Every rank with room holds `expert` already. One of them takes an expert that it lacks from a
// full rank, which takes the copy.
bool ScratchPlacer::PlaceByExchange(int expert) {
  double least = -1.0;
  int best_slot = -1;
  int best_rank = -1;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (!HasRoom(rank)) continue;
    for (int slot = 0; slot < shape_.num_slots(); ++slot) {
      const int donor = slot / shape_.slots_per_rank;
      if (slots_[slot] < 0 || HasRoom(donor) || Holds(donor, expert) || Holds(rank, slots_[slot])) {
        continue;
      }
      const double given = copy_load_[slots_[slot]];
      const double worse =
          std::max(rank_load_[rank] + given, rank_load_[donor] - given + copy_load_[expert]);
      if (best_slot < 0 || worse < least) {
        least = worse;
        best_slot = slot;
        best_rank = rank;
      }
    }
  }
  // A full rank that lacks the expert exists, since there is at most one copy a rank, and where all
  // have as many slots it holds by count something that the rank with room lacks.
  if (best_slot < 0) {
    STEELYARD_CHECK(shape_.topology != nullptr);
    return false;
  }
  const int donor = best_slot / shape_.slots_per_rank;
  const int32_t given = slots_[best_slot];
  Put(best_rank, given);
  slots_[best_slot] = expert;
  rank_load_[donor] += copy_load_[expert] - copy_load_[given];
  return true;
}

}  // namespace steelyard
