// The second half of the `swift` policy: the most loaded rank exchanges experts with others, one
// for one, with no more than one transfer each way between two ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/swift_board.h"
#include "plan/swift_set.h"

namespace steelyard {

/// Workspace of one worker.
class SwiftExchange {
 public:
  /// Exchanges until no exchange takes `threshold` tokens off the most loaded rank, but 100 times
  /// at most. Each rank's experts are then in the reference's order, whatever their slots. The
  /// result is the load of the most loaded rank when last looked at, which after the 100th exchange
  /// is before it.
  double Run(double threshold, SwiftBoard& board);

 private:
  struct Pair {
    double max_load;  // of the two ranks afterwards
    int32_t leaves;   // the most loaded rank
    int32_t comes;
  };

  void ListExperts(int rank, SwiftBoard& board);
  bool ExchangeWithAny(int hottest, double threshold, SwiftBoard& board);
  static Pair BestPair(int hottest, int other, SwiftBoard& board);
  void Exchange(int hottest, int other, const Pair& pair, SwiftBoard& board);

  std::vector<SwiftSet> experts_;  // [num_ranks]
  std::vector<int32_t> order_;     // [num_ranks]
};

}  // namespace steelyard
