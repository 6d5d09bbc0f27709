// The reference's own outputs, slot by slot and copy by copy.
#include "plan/deepseek_layer.h"
#include "plan/golden_test_util.h"

namespace steelyard {
namespace {

struct GoldenFile {
  const char* name;
  int num_cases;
};

void PrintTo(const GoldenFile& file, std::ostream* out) { *out << file.name; }

class DeepseekGolden : public testing::TestWithParam<GoldenFile> {
 protected:
  void SetUp() override {
    cases_ = GoldenCases(GetParam().name);
    ASSERT_EQ(static_cast<int>(cases_.size()), GetParam().num_cases);
  }

  static Topology TopologyOf(const Json& golden) {
    const int num_ranks = golden["num_gpus"];
    const int num_slots = golden["num_replicas"];
    return Topology::Create(num_ranks, num_slots / num_ranks, golden["num_nodes"]).value();
  }

  Json cases_;
};

TEST_P(DeepseekGolden, PlansAreTheReferences) {
  std::unique_ptr<Policy> policy = MakePolicy("deepseek").value();
  for (const Json& golden : cases_) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const int num_layers = golden["num_layers"];
    const int num_experts = golden["num_experts"];
    const LoadWindow window = GoldenWindow(golden["weight"]);
    const Placement current =
        Placement::Contiguous(TopologyOf(golden), num_layers, num_experts).value();
    PlanInput input{.current = &current};
    input.options.num_groups = golden["num_groups"];
    const Plan plan = GoldenPlan(*policy, window, input);
    ExpectGolden(plan.placement, golden["phy2log"]);
    EXPECT_EQ(plan.duplicates, golden["duplicates"].get<int>());
  }
}

TEST_P(DeepseekGolden, CopiesAreNumberedAsTheReferenceDoes) {
  DeepseekLayer layer;
  for (const Json& golden : cases_) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const Topology topology = TopologyOf(golden);
    for (size_t layer_idx = 0; layer_idx < golden["weight"].size(); ++layer_idx) {
      const auto weight = golden["weight"][layer_idx].get<std::vector<float>>();
      std::vector<int32_t> slot_to_expert(topology.num_slots());
      std::vector<int32_t> slot_to_copy(topology.num_slots());
      layer.Place(weight, golden["num_groups"], topology, slot_to_expert, slot_to_copy);
      const auto counts = golden["logcnt"][layer_idx].get<std::vector<int32_t>>();
      std::vector<std::vector<int32_t>> slots_of(weight.size());
      for (size_t expert = 0; expert < weight.size(); ++expert) {
        slots_of[expert].resize(counts[expert], -1);
      }
      for (int slot = 0; slot < topology.num_slots(); ++slot) {
        slots_of[slot_to_expert[slot]].at(slot_to_copy[slot]) = slot;
      }
      ASSERT_EQ(slots_of, golden["log2phy"][layer_idx].get<std::vector<std::vector<int32_t>>>())
          << "layer " << layer_idx;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files, DeepseekGolden,
    testing::Values(GoldenFile{"deepseek_readme.json", 1}, GoldenFile{"deepseek_small.json", 16},
                    GoldenFile{"deepseek_medium.json", 19}, GoldenFile{"deepseek_large.json", 15},
                    GoldenFile{"deepseek_recorded.json", 8},
                    GoldenFile{"deepseek_rounding.json", 6}),
    [](const auto& test) { return std::filesystem::path(test.param.name).stem().string(); });

}  // namespace
}  // namespace steelyard
