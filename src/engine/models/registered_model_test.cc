#include "steelyard/engine/registered_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/json.h"
#include "engine/models/test_ranks_of_experts.h"

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr ExpertShape kTiny = {16, 8};

MoeLayout LayoutOf(const Placement& placement) {
  MoeLayout layout;
  layout.model_type = "deepseek_v3";
  layout.num_model_layers = placement.num_layers() + 3;
  for (int i = 0; i < placement.num_layers(); ++i) layout.moe_layers.push_back(i + 3);
  layout.num_experts = placement.num_experts();
  return layout;
}

RegisteredModel Register(const Placement& placement, const TestRank& rank) {
  return *RegisteredModel::Create(LayoutOf(placement), rank.balancer.get(), rank.comm->rank());
}

TEST(RegisteredModel, SaysWhereItsExpertsAreAndWhatCameIn) {
  // Expert 0 has two copies; rank 1 holds the second.
  const Placement placement = MakePlacement(2, 3, {0, 1, 2, 0}, 1);
  const std::vector<TestRank> ranks = MakeTestRanks(placement, kTiny);
  RegisteredModel model = Register(placement, ranks[1]);

  EXPECT_EQ(model.num_moe_layers(), 1);
  EXPECT_THAT(model.layout().moe_layers, ElementsAre(3));
  EXPECT_THAT(model.ExpertMap(0), ElementsAre(1, -1, 0));
  EXPECT_THAT(model.AllExpertMaps(), ElementsAre(1, -1, 0));
  EXPECT_THAT(model.LogicalToPhysical(0),
              ElementsAre(ElementsAre(ExpertReplica{0, 0.5}, ExpertReplica{3, 0.5}),
                          ElementsAre(ExpertReplica{1, 1.0}), ElementsAre(ExpertReplica{2, 1.0})));

  const std::vector<uint32_t> counts = {5, 7};
  ranks[1].balancer->BeginStep();
  ranks[1].balancer->Record(0, Phase::kDecode, counts);
  const std::vector<int64_t> loads = model.MoeLoads();
  model.ClearMoeLoads();
  EXPECT_THAT(loads, ElementsAre(5, 7)) << "a copy, which clearing does not change";
  EXPECT_THAT(model.MoeLoads(), ElementsAre(0, 0));
}

TEST(RegisteredModel, RefusesABalancerOfAnotherModel) {
  const Placement placement = MakePlacement(2, 3, {0, 1, 2, 0}, 1);
  const std::vector<TestRank> ranks = MakeTestRanks(placement, kTiny);
  MoeLayout layout = LayoutOf(placement);
  layout.num_experts = 4;
  EXPECT_THAT(RegisteredModel::Create(layout, ranks[0].balancer.get(), 0).status().message(),
              HasSubstr("1 layers of 3 experts, the model 1 MoE layers of 4"));
  EXPECT_THAT(
      RegisteredModel::Create(LayoutOf(placement), ranks[0].balancer.get(), 2).status().message(),
      HasSubstr("rank 2 is none of the 2 ranks"));
}

// ---- The original system's tables, computed by its own code.

Json ExpectedTables() {
  return *ReadJsonFile(STEELYARD_SOURCE_DIR "/tests/data/placement/vllm_ascend_expected.json");
}

Placement PlacementOf(const Json& json) {
  std::vector<int32_t> slots;
  for (const Json& layer : json["placement"]) {
    for (const Json& rank : layer) {
      for (const Json& expert : rank) slots.push_back(expert.get<int32_t>());
    }
  }
  return MakePlacement(json["num_ranks"].get<int>(), json["num_experts"].get<int>(),
                       std::move(slots), json["num_layers"].get<int>());
}

// Whether all that `expected` (one number, or several) names are among the expert's slots.
void ExpectAmong(const Json& expected, const std::vector<ExpertReplica>& replicas,
                 const std::string& what) {
  const std::vector<int32_t> slots = expected.is_array()
                                         ? expected.get<std::vector<int32_t>>()
                                         : std::vector<int32_t>{expected.get<int32_t>()};
  for (const int32_t slot : slots) {
    EXPECT_TRUE(std::any_of(replicas.begin(), replicas.end(),
                            [&](const ExpertReplica& replica) { return replica.slot == slot; }))
        << what << ": slot " << slot;
  }
}

TEST(RegisteredModel, HasTheExpertMapsAndTheSlotsOfTheOriginalSystem) {
  const Json json = ExpectedTables();
  const Placement placement = PlacementOf(json);
  const std::vector<TestRank> ranks = MakeTestRanks(placement, kTiny);
  int num_compared = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const RegisteredModel model = Register(placement, ranks[rank]);
    for (int layer = 0; layer < placement.num_layers(); ++layer) {
      EXPECT_EQ(Json(model.ExpertMap(layer)), json["expert_map"][layer][rank]);
      const auto replicas = model.LogicalToPhysical(layer);
      for (const char* name :
           {"log2phy_newest_no_tp", "log2phy_newest_tp2", "log2phy_2025_allowed"}) {
        const Json& expected = json[name][layer][rank];
        ASSERT_EQ(expected.size(), replicas.size()) << name;
        for (size_t expert = 0; expert < replicas.size(); ++expert, ++num_compared) {
          ExpectAmong(expected[expert], replicas[expert], name);
        }
      }
    }
  }
  EXPECT_EQ(num_compared, 2 * 4 * 8 * 3);
}

TEST(RegisteredModel, TheFirstPlacementIsThatOfTheOriginalSystem) {
  const Json expected = ExpectedTables()["default_placement_newest"];
  EXPECT_EQ(expected.size(), 4U);
  for (const auto& item : expected.items()) {
    const std::vector<std::vector<int32_t>> want =
        item.value().get<std::vector<std::vector<int32_t>>>();
    int num_experts = 0;
    for (const auto& rank : want) {
      for (const int32_t expert : rank) num_experts = std::max(num_experts, expert + 1);
    }
    const Placement placement = MakeContiguous(static_cast<int>(want.size()),
                                               static_cast<int>(want[0].size()), 1, num_experts);
    const std::vector<TestRank> ranks = MakeTestRanks(placement, kTiny);
    for (size_t rank = 0; rank < want.size(); ++rank) {
      const std::vector<int32_t> map = Register(placement, ranks[rank]).ExpertMap(0);
      for (size_t slot = 0; slot < want[rank].size(); ++slot) {
        EXPECT_EQ(map[want[rank][slot]], static_cast<int32_t>(slot)) << item.key();
      }
    }
  }
}

}  // namespace
}  // namespace steelyard
