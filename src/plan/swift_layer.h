// One layer of the `swift` policy (vLLM-Ascend's SwiftBalanceEplb): fill the redundant slots anew,
// then exchange experts pair by pair; keep the result only where it is better.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/swift_board.h"
#include "plan/swift_exchange.h"
#include "plan/swift_redundancy.h"

namespace steelyard {

/// Largest rank loads.
struct SwiftLoads {
  double before = 0.0;
  double after = 0.0;  // as the search saw it, whether or not its result was kept
};

/// Workspace of one worker. After the first layer of a shape it allocates only as its sets grow.
class SwiftLayer {
 public:
  /// Writes the expert of every slot, `after` [num_slots]. `loads` is [num_experts], `before` the
  /// layer in force [num_slots]. `mean_load` is the mean rank load of the *first* layer, which the
  /// reference measures every layer by.
  SwiftLoads Place(std::span<const double> loads, double mean_load, std::span<const int32_t> before,
                   const Topology& topology, std::span<int32_t> after);

 private:
  struct InForce {
    double max_load;
    double imbalance;
  };
  InForce Measure(std::span<const double> loads, std::span<const int32_t> before,
                  const Topology& topology);

  std::vector<int32_t> copies_;  // [num_experts]
  SwiftBoard board_;
  SwiftRedundancy redundancy_;
  SwiftExchange exchange_;
};

}  // namespace steelyard
