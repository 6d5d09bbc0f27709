// The reference's own outputs, slot by slot.
#include <algorithm>

#include "plan/golden_test_util.h"

namespace steelyard {
namespace {

TEST(SwiftGolden, PlansAreTheReferences) {
  const Json cases = GoldenCases("swift.json");
  ASSERT_EQ(cases.size(), 29U);
  std::unique_ptr<Policy> policy = MakePolicy("swift").value();
  for (const Json& golden : cases) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const LoadWindow window = GoldenWindow(golden["expert_load"]);
    const Topology topology =
        Topology::Create(golden["num_ranks"], golden["slots_per_rank"]).value();
    const Placement current =
        GoldenPlacement(golden["old_placement"], topology, golden["num_experts"]);
    const Plan plan = GoldenPlan(*policy, window, {.current = &current});
    ExpectGolden(plan.placement, golden["new_placement"]);
    EXPECT_EQ(plan.moves, golden["moves"].get<int64_t>());
    EXPECT_EQ(plan.duplicates, 0);
    for (const LayerReport& layer : plan.layers) {
      EXPECT_EQ(layer.wanted, golden["changed"].get<int>() == 1);
    }
  }
}

}  // namespace
}  // namespace steelyard
