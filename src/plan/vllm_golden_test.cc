// The reference's own outputs, slot by slot.
#include "plan/golden_test_util.h"

namespace steelyard {
namespace {

TEST(VllmGolden, PlansAreTheReferences) {
  const Json cases = GoldenCases("vllm_default.json");
  ASSERT_EQ(cases.size(), 15U);
  std::unique_ptr<Policy> policy = MakePolicy("vllm").value();
  for (const Json& golden : cases) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const LoadWindow window = GoldenWindow(golden["weight"]);
    const int num_ranks = golden["num_ranks"];
    const int num_slots = golden["num_replicas"];
    const Topology topology =
        Topology::Create(num_ranks, num_slots / num_ranks, golden["num_nodes"]).value();
    const Placement current =
        GoldenPlacement(golden["old_phy2log"], topology, golden["num_experts"]);
    PlanInput input{.current = &current};
    input.options.num_groups = golden["num_groups"];
    const Plan plan = GoldenPlan(*policy, window, input);
    ExpectGolden(plan.placement, golden["phy2log"]);
  }
}

}  // namespace
}  // namespace steelyard
