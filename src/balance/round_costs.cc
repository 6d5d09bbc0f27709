#include "balance/round_costs.h"

#include <algorithm>

namespace steelyard {

std::vector<RoundCost> CostOfRounds(const Migration& migration, ExpertStore& store) {
  std::vector<RoundCost> costs;
  for (const Round& round : migration.rounds) {
    RoundCost& cost = costs.emplace_back();
    cost.moves = static_cast<int64_t>(round.arrivals.size());
    for (const Arrival& arrival : round.arrivals) {
      cost.bytes +=
          static_cast<int64_t>(store.bundle(store.pool_of_layer(arrival.layer), 0).size());
    }
    for (const LayerStep& step : round.steps) {
      cost.layers.push_back(step.layer);
    }
  }
  return costs;
}

int64_t LargestBundle(ExpertStore& store) {
  size_t largest = 0;
  for (int pool = 0; pool < store.num_pools(); ++pool) {
    if (store.num_buffers(pool) > 0) largest = std::max(largest, store.bundle(pool, 0).size());
  }
  return static_cast<int64_t>(largest);
}

}  // namespace steelyard
