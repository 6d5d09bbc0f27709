#include "sim/gate.h"

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace steelyard {

Result<Placement> OnlyWanted(const Plan& plan, const Placement& in_force) {
  const Placement& planned = plan.placement;
  const bool shares = planned.has_shares() || in_force.has_shares();
  std::vector<int32_t> slots;
  std::vector<double> all_shares;
  for (int layer = 0; layer < planned.num_layers(); ++layer) {
    const Placement& source = plan.layers[layer].wanted ? planned : in_force;
    const std::span<const int32_t> row = source.slot_to_expert(layer);
    slots.insert(slots.end(), row.begin(), row.end());
    if (!shares) continue;
    if (source.has_shares()) {
      const std::span<const double> given = source.shares(layer);
      all_shares.insert(all_shares.end(), given.begin(), given.end());
      continue;
    }
    const std::vector<std::vector<int32_t>> slots_of = LogicalToPhysical(source, layer);
    for (const int32_t expert : row) {
      all_shares.push_back(
          expert == kNoExpert ? 0.0 : 1.0 / static_cast<double>(slots_of[expert].size()));
    }
  }
  return Placement::Create(planned.topology(), planned.num_experts(), std::move(slots),
                           DuplicateRule::kAllow, std::move(all_shares));
}

}  // namespace steelyard
