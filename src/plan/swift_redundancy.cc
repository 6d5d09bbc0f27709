#include "plan/swift_redundancy.h"

#include <algorithm>
#include <numeric>

#include "steelyard/base/check.h"

namespace steelyard {

void SwiftRedundancy::Place(std::span<const double> loads, std::span<const int32_t> before,
                            const Topology& topology, SwiftBoard& board) {
  board.Reset(topology, static_cast<int>(loads.size()));
  FindHomes(before, board);
  ChooseExtraCopies(loads, board);
  board.SumRankLoads();
  PlaceExtraCopies(board);
  if (num_free_ > 0) {
    FillSlotsLeft(loads, board);
    board.SumRankLoads();
  }
}

/// Slot by slot over all ranks, the first sighting of an expert is its home; the slots of all later
/// ones become free.
void SwiftRedundancy::FindHomes(std::span<const int32_t> before, SwiftBoard& board) {
  free_of_.assign(board.num_ranks(), 0);
  for (size_t slot = 0; slot < board.slots_per_rank; ++slot) {
    for (int rank = 0; rank < board.num_ranks(); ++rank) {
      const int32_t expert = before[rank * board.slots_per_rank + slot];
      if (board.home[expert] < 0) {
        board.home[expert] = rank;
        board.slots()(rank, slot) = expert;
        board.presence(rank, expert) = SwiftBoard::kPresent;
        board.copies[expert] = 1;
      } else {
        ++free_of_[rank];
      }
    }
  }
  num_free_ = std::accumulate(free_of_.begin(), free_of_.end(), 0);
}

/// The weight of an expert falls by 2/3, 3/4, .. with each extra copy (not by its true share of
/// 1/2, 2/3, ..). Ties go to the highest expert.
void SwiftRedundancy::ChooseExtraCopies(std::span<const double> loads, SwiftBoard& board) {
  weight_.assign(loads.begin(), loads.end());
  extra_.assign(loads.size(), 0);
  for (int i = 0; i < num_free_; ++i) {
    int heaviest = -1;
    for (int expert = 0; expert < board.num_experts(); ++expert) {
      const bool has_room = extra_[expert] + 1 < board.num_ranks();
      if (has_room && (heaviest < 0 || weight_[expert] >= weight_[heaviest])) {
        heaviest = expert;
      }
    }
    const int extra = extra_[heaviest]++;
    weight_[heaviest] = weight_[heaviest] * (extra + 2) / (extra + 3);
  }
  std::transform(weight_.begin(), weight_.end(), board.weight.begin(),
                 [](double weight) { return static_cast<float>(weight); });
}

/// Heaviest first, each to the least loaded rank that may take it and into the last of its free
/// slots. A copy that no rank may take is dropped.
void SwiftRedundancy::PlaceExtraCopies(SwiftBoard& board) {
  order_.resize(board.num_experts());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    return board.weight[a] != board.weight[b] ? board.weight[a] > board.weight[b] : a < b;
  });
  for (const int32_t expert : order_) {
    for (int copy = 0; copy < extra_[expert]; ++copy) {
      int lightest = -1;
      for (int rank = 0; rank < board.num_ranks(); ++rank) {
        const bool may_take = free_of_[rank] > 0 &&
                              board.presence(rank, expert) == SwiftBoard::kAbsent &&
                              board.transfer(board.home[expert], rank) == 0;
        if (may_take && (lightest < 0 || board.rank_load[rank] < board.rank_load[lightest])) {
          lightest = rank;
        }
      }
      if (lightest < 0) {
        break;
      }
      const std::span<int32_t> slots = board.slots().row(lightest);
      const auto last_free = std::find(slots.rbegin(), slots.rend(), kNoExpert);
      board.Receive(lightest, static_cast<int>(slots.rend() - last_free) - 1, expert);
      board.rank_load[lightest] += board.weight[expert];
      --free_of_[lightest];
      --num_free_;
    }
  }
}

/// Whatever the copies that were dropped have left, goes to the largest weight per copy that the
/// rank lacks, ties to the highest expert.
void SwiftRedundancy::FillSlotsLeft(std::span<const double> loads, SwiftBoard& board) {
  for (int expert = 0; expert < board.num_experts(); ++expert) {
    board.weight[expert] = static_cast<float>(loads[expert] / board.copies[expert]);
  }
  for (int rank = 0; rank < board.num_ranks(); ++rank) {
    for (size_t slot = 0; slot < board.slots_per_rank; ++slot) {
      if (board.slots()(rank, slot) != kNoExpert) {
        continue;
      }
      int heaviest = -1;
      for (int expert = 0; expert < board.num_experts(); ++expert) {
        const bool lacks = board.presence(rank, expert) == SwiftBoard::kAbsent;
        if (lacks && (heaviest < 0 || board.weight[expert] >= board.weight[heaviest])) {
          heaviest = expert;
        }
      }
      STEELYARD_CHECK(heaviest >= 0);
      const auto copies = static_cast<float>(board.copies[heaviest]);
      board.Receive(rank, static_cast<int>(slot), heaviest);
      board.weight[heaviest] *= copies / (copies + 1.0F);
    }
  }
  num_free_ = 0;
}

}  // namespace steelyard
