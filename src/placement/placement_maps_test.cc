// Moves between placements and the maps of one, alone and against what vLLM-Ascend makes of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/test_scale.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

using testing::Contains;
using testing::ElementsAre;

Topology Make(int num_ranks, int slots_per_rank, int num_nodes = 1) {
  return Topology::Create(num_ranks, slots_per_rank, num_nodes).value();
}

TEST(CountMoves, CountsPairsOfExpertAndRankThatAreNew) {
  const Placement from =  // 0 1 2 | 2 3 0
      Placement::Create(Make(2, 3), 4, {0, 1, 2, 2, 3, 0}, DuplicateRule::kRefuse).value();
  const auto to = [](std::vector<int32_t> slots) {
    return Placement::Create(Make(2, 3), 4, std::move(slots), DuplicateRule::kAllow).value();
  };
  EXPECT_EQ(CountMoves(from, to({2, 0, 1, 0, 2, 3}), 0), 0);  // only slots changed
  EXPECT_EQ(CountMoves(from, to({0, 1, 3, 2, 3, 0}), 0), 1);
  EXPECT_EQ(CountMoves(from, to({3, 1, 3, 2, 0, 1}), 0), 2);  // rank 0's second 3 crosses no link
  EXPECT_EQ(CountMoves(from, to({0, 0, 1, 3, 2, 2})), 0);
}

TEST(CountMoves, SumsLayers) {
  const Placement from = Placement::Contiguous(Make(2, 2), 3, 4).value();
  const Placement to =
      Placement::Create(Make(2, 2), 4, {0, 1, 2, 3, 2, 3, 0, 1, 0, 2, 1, 3}, DuplicateRule::kRefuse)
          .value();
  EXPECT_EQ(CountMoves(from, to, 1), 4);
  EXPECT_EQ(CountMoves(from, to, 2), 2);
  EXPECT_EQ(CountMoves(from, to), 6);
}

TEST(CountMoves, MatchesRanksOfDifferentTopologiesByNumber) {
  const Placement all = Placement::Contiguous(Make(3, 2), 1, 4).value();  // 0 1 | 2 3 | 0 1
  TopologySpec spec = all.topology().spec();
  spec.dead_ranks = {1};
  const Placement without_1 = Placement::Create(Topology::Create(spec).value(), 4,
                                                {0, 2, -1, -1, 1, 3}, DuplicateRule::kRefuse)
                                  .value();
  EXPECT_EQ(CountMoves(all, without_1), 2);  // 2 to rank 0, 3 to rank 2
  EXPECT_EQ(CountMoves(without_1, all), 4);  // 1 to rank 0, 2 and 3 to rank 1, 0 to rank 2
  // A rank that is new, and slots that are new.
  const Placement more = Placement::Contiguous(Make(4, 3), 1, 4).value();
  EXPECT_EQ(CountMoves(all, more, 0), 1 + 2 + 2 + 3);  // 0 1 2 | 3 0 1 | 2 3 0 | 1 2 3
  EXPECT_EQ(CountMoves(more, all, 0), 1 + 1);          // 2 to rank 1, 1 to rank 2
}

// Random placements with duplicates, of a random shape.
Placement RandomPlacement(std::mt19937& random, const Topology& topology, int num_layers,
                          int num_experts) {
  std::vector<int32_t> slot_to_expert;
  for (int layer = 0; layer < num_layers; ++layer) {
    std::vector<int32_t> row(topology.num_live_slots());
    for (int slot = 0; slot < topology.num_live_slots(); ++slot) {
      row[slot] = slot < num_experts ? slot : static_cast<int32_t>(random() % num_experts);
    }
    std::shuffle(row.begin(), row.end(), random);
    size_t num_placed = 0;
    for (int slot = 0; slot < topology.num_slots(); ++slot) {
      slot_to_expert.push_back(topology.is_live_slot(slot) ? row[num_placed++] : kNoExpert);
    }
  }
  return Placement::Create(topology, num_experts, slot_to_expert, DuplicateRule::kAllow).value();
}

std::set<std::pair<int, int>> Pairs(const Placement& placement, int layer_idx) {
  std::set<std::pair<int, int>> pairs;
  for (int slot = 0; slot < placement.num_slots(); ++slot) {
    const int32_t expert = placement.slot_to_expert(layer_idx)[slot];
    if (expert != kNoExpert) pairs.emplace(expert, placement.topology().rank_of_slot(slot));
  }
  return pairs;
}

// Ranks of different numbers of slots; some are dead, some are slow.
Topology RandomTopology(std::mt19937& random) {
  TopologySpec spec;
  spec.num_ranks = 1 + static_cast<int>(random() % 6);
  spec.slots_per_rank = 1 + static_cast<int>(random() % 6);
  if (random() % 2 == 0) {
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.slots_of_rank.push_back(1 + static_cast<int>(random() % spec.slots_per_rank));
    }
    spec.slots_of_rank[random() % spec.num_ranks] = spec.slots_per_rank;
  }
  for (int rank = 1; rank < spec.num_ranks; ++rank) {
    if (random() % 5 == 0) spec.dead_ranks.push_back(rank);
  }
  return Topology::Create(spec).value();
}

TEST(Placement, ItsMapsAndMovesAgreeWithTheirDefinitions) {
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Topology topology = RandomTopology(random);
    const Topology target = random() % 2 == 0 ? topology : RandomTopology(random);
    const int num_experts = 1 + static_cast<int>(random() % std::min(topology.num_live_slots(),
                                                                     target.num_live_slots()));
    const int num_layers = 1 + static_cast<int>(random() % 3);
    const Placement from = RandomPlacement(random, topology, num_layers, num_experts);
    const Placement to = RandomPlacement(random, target, num_layers, num_experts);
    int64_t num_moves = 0;
    int num_duplicates = 0;
    for (int layer = 0; layer < num_layers; ++layer) {
      const std::set<std::pair<int, int>> held = Pairs(from, layer);
      for (const std::pair<int, int>& pair : Pairs(to, layer)) {
        num_moves += held.count(pair) == 0 ? 1 : 0;
      }
      num_duplicates += topology.num_live_slots() - static_cast<int>(held.size());
      const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(from, layer);
      size_t num_listed = 0;
      for (int expert = 0; expert < num_experts; ++expert) {
        EXPECT_TRUE(std::is_sorted(slots[expert].begin(), slots[expert].end()));
        num_listed += slots[expert].size();
        for (const int32_t slot : slots[expert]) {
          EXPECT_EQ(from.slot_to_expert(layer)[slot], expert);
        }
        for (int rank = 0; rank < topology.num_ranks(); ++rank) {
          const int32_t local = ExpertMap(from, layer, rank)[expert];
          EXPECT_EQ(local >= 0, held.count({expert, rank}) == 1);
          if (local >= 0) {
            EXPECT_THAT(slots[expert], Contains(topology.first_slot_of_rank(rank) + local));
          }
        }
      }
      EXPECT_EQ(num_listed, static_cast<size_t>(topology.num_live_slots()));
    }
    EXPECT_EQ(CountMoves(from, to), num_moves);
    EXPECT_EQ(from.CountDuplicates(), num_duplicates);
  }
}

TEST(ExpertMap, OfDuplicatesNamesTheLowestSlot) {
  const Placement placement =
      Placement::Create(Make(1, 3), 2, {1, 0, 1}, DuplicateRule::kAllow).value();
  EXPECT_THAT(ExpertMap(placement, 0, 0), ElementsAre(1, 0));
}

// What vLLM-Ascend makes of the same placements: its expert maps and default placement are ours,
// and the one slot per expert and rank that it chooses is among those we would route to.
class VllmAscend : public testing::Test {
 protected:
  void SetUp() override {
    expected_ = ReadJsonFile(STEELYARD_SOURCE_DIR "/tests/data/placement/vllm_ascend_expected.json")
                    .value();
    std::vector<int32_t> slot_to_expert;
    for (const Json& layer : expected_["placement"]) {
      for (const Json& rank : layer) {
        for (const Json& expert : rank) {
          slot_to_expert.push_back(expert);
        }
      }
    }
    placement_ =
        Placement::Create(Make(expected_["num_ranks"], expected_["slots_per_rank"]),
                          expected_["num_experts"], slot_to_expert, DuplicateRule::kRefuse);
  }

  Json expected_;
  Result<Placement> placement_ = Internal("not read yet");
};

TEST_F(VllmAscend, HasTheSameExpertMaps) {
  ASSERT_TRUE(placement_.ok()) << placement_.status().ToString();
  for (int layer = 0; layer < placement_->num_layers(); ++layer) {
    for (int rank = 0; rank < placement_->topology().num_ranks(); ++rank) {
      EXPECT_EQ(Json(ExpertMap(*placement_, layer, rank)), expected_["expert_map"][layer][rank]);
    }
  }
}

TEST_F(VllmAscend, ChoosesAmongOurSlots) {
  ASSERT_TRUE(placement_.ok()) << placement_.status().ToString();
  for (const char* key : {"log2phy_newest_no_tp", "log2phy_newest_tp2"}) {
    for (int layer = 0; layer < placement_->num_layers(); ++layer) {
      const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(*placement_, layer);
      for (const Json& rank : expected_[key][layer]) {
        ASSERT_EQ(rank.size(), slots.size());
        for (size_t expert = 0; expert < slots.size(); ++expert) {
          EXPECT_THAT(slots[expert], Contains(rank[expert].get<int32_t>())) << key;
        }
      }
    }
  }
}

TEST_F(VllmAscend, HasTheSameDefaultPlacement) {
  const std::map<std::string, int> num_experts = {{"E8_ranks4_redundant0", 8},
                                                  {"E8_ranks4_redundant4", 8},
                                                  {"E16_ranks4_redundant4", 16},
                                                  {"E8_ranks2_redundant2", 8}};
  const Json& defaults = expected_["default_placement_newest"];
  ASSERT_EQ(defaults.size(), num_experts.size());
  for (const auto& [name, count] : num_experts) {
    const Json& ranks = defaults[name];
    const Topology topology =
        Make(static_cast<int>(ranks.size()), static_cast<int>(ranks[0].size()));
    const Placement placement = Placement::Contiguous(topology, 1, count).value();
    for (int slot = 0; slot < placement.num_slots(); ++slot) {
      const int rank = topology.rank_of_slot(slot);
      EXPECT_EQ(placement.slot_to_expert(0)[slot],
                ranks[rank][slot - topology.first_slot_of_rank(rank)])
          << name << ", slot " << slot;
    }
  }
}

}  // namespace
}  // namespace steelyard
