#include "plan/steelyard_scratch.h"

#include <algorithm>
#include <numeric>

#include "steelyard/base/check.h"

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
  for (const int32_t expert : by_load_) {
    DealOut(expert);
  }
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
    if (used_[taken.rank] < shape_.slots_per_rank) {
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
    if (used_[rank] < shape_.slots_per_rank) open_.push_back({rank_load_[rank], rank});
  }
  std::make_heap(open_.begin(), open_.end(), hotter);
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
void ScratchPlacer::PlaceByExchange(int expert) {
  double least = -1.0;
  int best_slot = -1;
  int best_rank = -1;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (used_[rank] == shape_.slots_per_rank) continue;
    for (int slot = 0; slot < shape_.num_slots(); ++slot) {
      const int donor = slot / shape_.slots_per_rank;
      if (used_[donor] < shape_.slots_per_rank || Holds(donor, expert) ||
          Holds(rank, slots_[slot])) {
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
  // A full rank that lacks the expert exists, since there are at most num_ranks copies, and by
  // count it holds something that the rank with room lacks.
  STEELYARD_CHECK(best_slot >= 0);
  const int donor = best_slot / shape_.slots_per_rank;
  const int32_t given = slots_[best_slot];
  Put(best_rank, given);
  slots_[best_slot] = expert;
  rank_load_[donor] += copy_load_[expert] - copy_load_[given];
}

}  // namespace steelyard
