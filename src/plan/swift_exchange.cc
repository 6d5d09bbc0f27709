#include "plan/swift_exchange.h"

#include <algorithm>
#include <numeric>

namespace steelyard {
namespace {

constexpr int kMaxExchanges = 100;

/// Ties go to the highest rank.
int HottestRank(std::span<const float> rank_load) {
  const auto last = std::max_element(rank_load.rbegin(), rank_load.rend());
  return static_cast<int>(rank_load.rend() - last) - 1;
}

}  // namespace

double SwiftExchange::Run(double threshold, SwiftBoard& board) {
  experts_.resize(std::max<size_t>(experts_.size(), board.num_ranks()));
  for (int rank = 0; rank < board.num_ranks(); ++rank) {
    experts_[rank].Clear();
    for (const int32_t expert : board.slots().row(rank)) {
      experts_[rank].Add(expert);
    }
    ListExperts(rank, board);
  }
  double max_load = 0.0;
  bool exchanged = true;
  for (int i = 0; i < kMaxExchanges && exchanged; ++i) {
    const int hottest = HottestRank(board.rank_load);
    max_load = board.rank_load[hottest];
    exchanged = ExchangeWithAny(hottest, threshold, board);
  }
  return max_load;
}

void SwiftExchange::ListExperts(int rank, SwiftBoard& board) {
  auto slot = board.slots().row(rank).begin();
  experts_[rank].ForEach([&](int32_t expert) { *slot++ = expert; });
}

/// Others come lightest first, ties to the lowest rank.
bool SwiftExchange::ExchangeWithAny(int hottest, double threshold, SwiftBoard& board) {
  order_.resize(board.num_ranks());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    return board.rank_load[a] != board.rank_load[b] ? board.rank_load[a] < board.rank_load[b]
                                                    : a < b;
  });
  const double load = board.rank_load[hottest];
  for (const int32_t other : order_) {
    if (other == hottest || board.transfer(hottest, other) != 0 ||
        board.transfer(other, hottest) != 0) {
      continue;
    }
    const Pair best = BestPair(hottest, other, board);
    if (best.max_load < load && load - best.max_load >= threshold) {
      Exchange(hottest, other, best, board);
      return true;
    }
  }
  return false;
}

/// The first of the best in order of the sets. Loads of the hottest rank are float64, those of the
/// other are float32, as the reference's are.
SwiftExchange::Pair SwiftExchange::BestPair(int hottest, int other, SwiftBoard& board) {
  const double hottest_load = board.rank_load[hottest];
  const float other_load = board.rank_load[other];
  Pair best{.max_load = hottest_load, .leaves = kNoExpert, .comes = kNoExpert};
  for (const int32_t leaves : board.slots().row(hottest)) {
    if (board.presence(other, leaves) != SwiftBoard::kAbsent ||
        board.presence(hottest, leaves) == SwiftBoard::kReceived) {
      continue;
    }
    for (const int32_t comes : board.slots().row(other)) {
      if (board.presence(hottest, comes) != SwiftBoard::kAbsent ||
          board.presence(other, comes) == SwiftBoard::kReceived) {
        continue;
      }
      const double hottest_after = hottest_load - board.weight[leaves] + board.weight[comes];
      const float other_after = other_load - board.weight[comes] + board.weight[leaves];
      const double max_load = std::max<double>(hottest_after, other_after);
      if (max_load < best.max_load) {
        best = {.max_load = max_load, .leaves = leaves, .comes = comes};
      }
    }
  }
  return best;
}

void SwiftExchange::Exchange(int hottest, int other, const Pair& pair, SwiftBoard& board) {
  const float gain = board.weight[pair.leaves] - board.weight[pair.comes];
  board.rank_load[hottest] -= gain;
  board.rank_load[other] += gain;
  board.presence(hottest, pair.leaves) = SwiftBoard::kAbsent;
  board.presence(other, pair.comes) = SwiftBoard::kAbsent;
  board.presence(hottest, pair.comes) = SwiftBoard::kReceived;
  board.presence(other, pair.leaves) = SwiftBoard::kReceived;
  board.transfer(hottest, other) = 1;
  board.transfer(other, hottest) = 1;
  experts_[hottest].Remove(pair.leaves);
  experts_[hottest].Add(pair.comes);
  experts_[other].Remove(pair.comes);
  experts_[other].Add(pair.leaves);
  ListExperts(hottest, board);
  ListExperts(other, board);
}

}  // namespace steelyard
