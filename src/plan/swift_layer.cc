#include "plan/swift_layer.h"

#include <algorithm>

#include "plan/keep_slots.h"

namespace steelyard {
namespace {

constexpr double kWorthPlanning = 1.01;  // imbalance
constexpr double kWorthExchange = 0.01;  // of the mean rank load

}  // namespace

SwiftLoads SwiftLayer::Place(std::span<const double> loads, double mean_load,
                             std::span<const int32_t> before, const Topology& topology,
                             std::span<int32_t> after) {
  std::copy(before.begin(), before.end(), after.begin());
  const InForce in_force = Measure(loads, before, topology);
  if (in_force.imbalance < kWorthPlanning) {
    return {.before = in_force.max_load, .after = in_force.max_load};
  }
  redundancy_.Place(loads, before, topology, board_);
  const double max_load = exchange_.Run(kWorthExchange * mean_load, board_);
  if (mean_load > 0.0 && max_load / mean_load < in_force.imbalance) {
    KeepSlots(topology.slots_per_rank(), before, board_.slots().flat(), after);
  }
  return {.before = in_force.max_load, .after = max_load};
}

SwiftLayer::InForce SwiftLayer::Measure(std::span<const double> loads,
                                        std::span<const int32_t> before, const Topology& topology) {
  copies_.assign(loads.size(), 0);
  for (const int32_t expert : before) {
    ++copies_[expert];
  }
  double max_load = 0.0;
  double sum = 0.0;
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    double rank_load = 0.0;
    for (const int32_t expert :
         before.subspan(topology.first_slot_of_rank(rank), topology.slots_per_rank())) {
      rank_load += loads[expert] / copies_[expert];
    }
    max_load = std::max(max_load, rank_load);
    sum += rank_load;
  }
  const double mean_load = sum / topology.num_ranks();
  return {.max_load = max_load, .imbalance = mean_load == 0.0 ? 1.0 : max_load / mean_load};
}

}  // namespace steelyard
