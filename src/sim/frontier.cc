#include "sim/frontier.h"

#include <fmt/format.h>

namespace steelyard {

Result<std::vector<FrontierPoint>> ReplayFrontier(std::span<const double> prices,
                                                  const ReplayInput& input,
                                                  const ReplayContext& context) {
  std::vector<FrontierPoint> points;
  ReplayInput priced = input;
  for (const double price : prices) {
    priced.plan.price = price;
    const Result<PolicyReplay> replay = ReplayPolicy("steelyard", priced, context);
    if (!replay.ok()) return replay.status().WithContext(fmt::format("price {}", price));
    points.push_back({price, replay->imbalance_next, replay->imbalance_next_p95,
                      replay->first_moves, replay->moves, replay->moves_per_cycle});
  }
  return points;
}

}  // namespace steelyard
