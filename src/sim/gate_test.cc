#include "sim/gate.h"

#include <gtest/gtest.h>

namespace steelyard {
namespace {

std::vector<int32_t> Row(const Placement& placement, int layer) {
  const std::span<const int32_t> row = placement.slot_to_expert(layer);
  return {row.begin(), row.end()};
}

TEST(OnlyWanted, LayersThatThePolicyDoesNotWantStayAsTheyAre) {
  const Topology topology = Topology::Create(2, 2).value();
  const Placement in_force = Placement::Contiguous(topology, 3, 3).value();
  const std::vector<int32_t> row = {2, 1, 1, 0};
  std::vector<int32_t> slots;
  std::vector<double> shares;
  for (int layer = 0; layer < 3; ++layer) {
    slots.insert(slots.end(), row.begin(), row.end());
    shares.insert(shares.end(), {1.0, 0.25, 0.75, 1.0});
  }
  Plan plan{Placement::Create(topology, 3, slots, DuplicateRule::kRefuse).value(),
            std::vector<LayerReport>(3)};
  plan.layers[1].wanted = false;
  const Placement even = OnlyWanted(plan, in_force).value();
  EXPECT_EQ(Row(even, 0), row);
  EXPECT_EQ(Row(even, 1), (std::vector<int32_t>{0, 1, 2, 0}));
  EXPECT_EQ(Row(even, 2), row);
  EXPECT_FALSE(even.has_shares());
  plan.placement = Placement::Create(topology, 3, slots, DuplicateRule::kRefuse, shares).value();
  const Placement weighted = OnlyWanted(plan, in_force).value();
  EXPECT_EQ(weighted.shares(0)[1], 0.25);
  EXPECT_EQ(weighted.shares(1)[0], 0.5);  // expert 0 is in force twice, evenly
  EXPECT_EQ(weighted.shares(1)[1], 1.0);
}

}  // namespace
}  // namespace steelyard
