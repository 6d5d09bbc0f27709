#include "plan/steelyard_label.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace steelyard {
namespace {

constexpr int kMaxRanksForBest = 64;
constexpr int32_t kFar = std::numeric_limits<int32_t>::max();
// Worse than any overlaps that it could win.
constexpr int32_t kForbidden = -(1 << 20);

}  // namespace

void RankLabeller::Prepare(const LayerShape& shape) {
  shape_ = shape;
  const size_t num_ranks = shape.num_ranks;
  const size_t num_slots = shape.num_slots();
  first_holder_.assign(shape.num_experts + 1, 0);
  holders_.assign(num_slots, 0);
  shared_.assign(num_ranks, 0);
  old_rank_of_.assign(num_ranks, -1);
  new_rank_of_.assign(num_ranks, -1);
  renamed_.assign(num_slots, 0);
  if (shape.num_ranks > kMaxRanksForBest) {
    // The contiguous layout, the one that is labelled against, has at most this many copies of an
    // expert.
    const size_t most_copies = (num_slots + shape.num_experts - 1) / shape.num_experts;
    overlaps_.reserve(num_slots * most_copies);
    return;
  }
  overlaps_.reserve(num_ranks * num_ranks);
  gain_.assign(num_ranks * num_ranks, 0);
  row_price_.assign(num_ranks, 0);
  column_price_.assign(num_ranks + 1, 0);
  row_of_.assign(num_ranks + 1, -1);
  distance_.assign(num_ranks + 1, 0);
  came_from_.assign(num_ranks + 1, -1);
  open_.reserve(num_ranks);
  reached_.reserve(num_ranks + 1);
}

void RankLabeller::Label(const RowInForce& in_force, std::span<int32_t> slot_to_expert) {
  CollectHolders(in_force);
  CollectOverlaps(slot_to_expert);
  if (shape_.num_ranks > kMaxRanksForBest) {
    AssignGreedily();
  } else {
    AssignBest();
  }
  const int slots_per_rank = shape_.slots_per_rank;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    std::copy_n(slot_to_expert.begin() + rank * slots_per_rank, slots_per_rank,
                renamed_.begin() + old_rank_of_[rank] * slots_per_rank);
  }
  std::copy(renamed_.begin(), renamed_.end(), slot_to_expert.begin());
}

bool RankLabeller::AreAlike(int rank_a, int rank_b) const {
  const Topology* topology = shape_.topology;
  return topology == nullptr || (topology->live_slots(rank_a) == topology->live_slots(rank_b) &&
                                 topology->speed(rank_a) == topology->speed(rank_b));
}

void RankLabeller::CollectHolders(const RowInForce& in_force) {
  const int num_ranks = std::min(shape_.num_ranks, in_force.num_ranks);
  // Slots sorted by expert: count, sum up, fill from the back.
  std::fill(first_holder_.begin(), first_holder_.end(), 0);
  size_t num_held = 0;
  for (int rank = 0; rank < num_ranks; ++rank) {
    for (const int32_t expert : in_force.rank(rank)) {
      if (expert < 0) continue;
      ++first_holder_[expert];
      ++num_held;
    }
  }
  holders_.resize(std::max(holders_.size(), num_held));
  for (int expert = 1; expert <= shape_.num_experts; ++expert) {
    first_holder_[expert] += first_holder_[expert - 1];
  }
  for (int rank = num_ranks - 1; rank >= 0; --rank) {
    for (const int32_t expert : in_force.rank(rank)) {
      if (expert >= 0) holders_[--first_holder_[expert]] = rank;
    }
  }
}

void RankLabeller::CollectOverlaps(std::span<const int32_t> slot_to_expert) {
  overlaps_.clear();
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const size_t first = overlaps_.size();
    const std::span<const int32_t> experts =
        slot_to_expert.subspan(rank * shape_.slots_per_rank, shape_.slots_per_rank);
    for (const int32_t expert : experts) {
      if (expert < 0) continue;
      for (int i = first_holder_[expert]; i < first_holder_[expert + 1]; ++i) {
        if (!AreAlike(rank, holders_[i])) continue;
        if (shared_[holders_[i]]++ == 0) overlaps_.push_back({0, rank, holders_[i]});
      }
    }
    for (size_t i = first; i < overlaps_.size(); ++i) {
      overlaps_[i].size = std::exchange(shared_[overlaps_[i].old_rank], 0);
    }
  }
}

void RankLabeller::AssignGreedily() {
  std::sort(overlaps_.begin(), overlaps_.end(), [](const Overlap& a, const Overlap& b) {
    if (a.size != b.size) return a.size > b.size;
    return a.new_rank != b.new_rank ? a.new_rank < b.new_rank : a.old_rank < b.old_rank;
  });
  std::fill(old_rank_of_.begin(), old_rank_of_.end(), -1);
  std::fill(new_rank_of_.begin(), new_rank_of_.end(), -1);
  for (const Overlap& overlap : overlaps_) {
    if (old_rank_of_[overlap.new_rank] >= 0 || new_rank_of_[overlap.old_rank] >= 0) continue;
    old_rank_of_[overlap.new_rank] = overlap.old_rank;
    new_rank_of_[overlap.old_rank] = overlap.new_rank;
  }
  int first_free = 0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    if (old_rank_of_[rank] >= 0) continue;
    while (new_rank_of_[first_free] >= 0) ++first_free;
    int free_rank = first_free;
    while (new_rank_of_[free_rank] >= 0 || !AreAlike(rank, free_rank)) ++free_rank;
    old_rank_of_[rank] = free_rank;
    new_rank_of_[free_rank] = rank;
  }
}

// The Hungarian method: rows come one by one; each takes the cheapest path to a free column, where
// a pair costs its price minus its gain, and prices are moved so that no pair in use costs more
// than another. Cost num_ranks^3.
void RankLabeller::AssignBest() {
  std::fill(gain_.begin(), gain_.end(), 0);
  for (int rank = 0; shape_.topology != nullptr && rank < shape_.num_ranks; ++rank) {
    for (int other = 0; other < shape_.num_ranks; ++other) {
      if (!AreAlike(rank, other)) gain_[rank * shape_.num_ranks + other] = kForbidden;
    }
  }
  for (const Overlap& overlap : overlaps_) {
    gain_[overlap.new_rank * shape_.num_ranks + overlap.old_rank] = overlap.size;
  }
  std::fill(row_price_.begin(), row_price_.end(), 0);
  std::fill(column_price_.begin(), column_price_.end(), 0);
  std::fill(row_of_.begin(), row_of_.end(), -1);
  const int root = shape_.num_ranks;
  for (int row = 0; row < shape_.num_ranks; ++row) {
    int column = ReachFreeColumn(row);
    while (column != root) {
      const int before = came_from_[column];
      row_of_[column] = row_of_[before];
      column = before;
    }
  }
  for (int column = 0; column < shape_.num_ranks; ++column) {
    old_rank_of_[row_of_[column]] = column;
  }
}

int RankLabeller::ReachFreeColumn(int row) {
  const int root = shape_.num_ranks;
  std::fill(distance_.begin(), distance_.end(), kFar);
  distance_[root] = 0;
  row_of_[root] = row;
  open_.resize(shape_.num_ranks);
  std::iota(open_.begin(), open_.end(), 0);
  reached_.clear();
  int column = root;
  do {
    reached_.push_back(column);
    const int from_row = row_of_[column];
    const int32_t* gain = gain_.data() + static_cast<size_t>(from_row) * shape_.num_ranks;
    const int32_t so_far = distance_[column] - row_price_[from_row];
    auto nearest = open_.begin();
    int32_t least = kFar;
    for (auto c = open_.begin(); c != open_.end(); ++c) {
      const int32_t cost = so_far - gain[*c] - column_price_[*c];
      if (cost < distance_[*c]) {
        distance_[*c] = cost;
        came_from_[*c] = column;
      }
      if (distance_[*c] < least) {
        least = distance_[*c];
        nearest = c;
      }
    }
    column = *nearest;
    open_.erase(nearest);
  } while (row_of_[column] >= 0);
  for (const int32_t c : reached_) {
    const int32_t later = distance_[column] - distance_[c];
    row_price_[row_of_[c]] += later;
    column_price_[c] -= later;
  }
  return column;
}

}  // namespace steelyard
