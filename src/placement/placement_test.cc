#include "steelyard/placement/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

Topology Make(int num_ranks, int slots_per_rank, int num_nodes = 1) {
  return Topology::Create(num_ranks, slots_per_rank, num_nodes).value();
}

// 3 ranks of 3, 2 and 3 slots; rank 2 is dead: slots 0 1 2 3 4 are live, 5 to 8 are not.
Topology Uneven() {
  TopologySpec spec;
  spec.num_ranks = 3;
  spec.slots_per_rank = 3;
  spec.slots_of_rank = {3, 2, 3};
  spec.dead_ranks = {2};
  return Topology::Create(spec).value();
}

// One layer, 2 ranks x 3 slots, 4 experts: rank 0 holds 0 1 2, rank 1 holds 2 3 0.
Placement Example(std::vector<double> shares = {}) {
  return Placement::Create(Make(2, 3), 4, {0, 1, 2, 2, 3, 0}, DuplicateRule::kRefuse,
                           std::move(shares))
      .value();
}

TEST(Placement, SaysWhatEverySlotHolds) {
  const Placement placement = Example();
  EXPECT_EQ(placement.num_layers(), 1);
  EXPECT_EQ(placement.num_experts(), 4);
  EXPECT_EQ(placement.num_slots(), 6);
  EXPECT_THAT(placement.slot_to_expert(0), ElementsAre(0, 1, 2, 2, 3, 0));
  EXPECT_FALSE(placement.has_shares());
  EXPECT_THAT(placement.shares(0), IsEmpty());
  EXPECT_EQ(placement.CountDuplicates(), 0);
  EXPECT_EQ(placement.ToString(), "1 layer, 4 experts on 2 ranks x 3 slots on 1 node, even split");
}

TEST(Placement, KeepsSharesWhereTheyAreGiven) {
  const Placement placement = Example({0.25, 1, 0, 1, 1, 0.75});
  EXPECT_TRUE(placement.has_shares());
  EXPECT_THAT(placement.shares(0), ElementsAre(0.25, 1, 0, 1, 1, 0.75));
  EXPECT_NE(placement, Example());
  EXPECT_EQ(placement.ToString(),
            "1 layer, 4 experts on 2 ranks x 3 slots on 1 node, weighted split");
}

struct Refusal {
  Topology topology;
  int num_experts;
  std::vector<int32_t> slot_to_expert;
  std::vector<double> shares;
  std::string message;
};

TEST(Placement, RefusesWhatBreaksARuleAndNamesTheFirstOffender) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Refusal> refusals = {
      {Make(2, 2), 0, {0, 1, 2, 3}, {}, "num_experts is 0, but at least 1 is needed"},
      {Make(2, 2), 5, {0, 1, 2, 3}, {}, "4 slots are fewer than 5 experts"},
      {Make(2, 3), 2, {0, 1, 0, 0, 1, 0}, {}, "3 slots on a rank are more than 2 experts"},
      {Make(2, 2), 4, {}, {}, "0 entries are not one or more layers of 4 slots"},
      {Make(2, 2), 4, {0, 1, 2}, {}, "3 entries are not one or more layers of 4 slots"},
      {Make(2, 2), 4, {0, 1, 2, 4}, {}, "layer 0, slot 3 (rank 1): expert 4 is outside [0, 4)"},
      {Make(2, 2),
       3,
       {0, 1, 2, 0, 0, -1, 2, 1},
       {},
       "layer 1, slot 1 (rank 0): expert -1 is outside [0, 3)"},
      {Make(2, 2), 3, {0, 1, 1, 0}, {}, "layer 0: expert 2 has no slot"},
      {Make(2, 3), 4, {0, 1, 2, 3, 1, 3}, {}, "layer 0: rank 1 holds expert 3 in slots 3 and 5"},
      {Make(2, 2), 3, {0, 1, 2, 0}, {0.5, 1, 1}, "3 shares for 4 slots"},
      {Make(2, 2),
       3,
       {0, 1, 2, 0},
       {0.5, 1, 1, 0.4},
       "layer 0: shares of expert 0 sum to 0.9, not to 1"},
      {Make(2, 2),
       3,
       {0, 1, 2, 0},
       {-0.5, 1, 1, 1.5},
       "layer 0, slot 0 (rank 0): share -0.5 is negative"},
      {Make(2, 2),
       3,
       {0, 1, 2, 0},
       {0.5, 1, kNan, 0.5},
       "layer 0, slot 2 (rank 1): share nan is not finite"},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_EQ(Placement::Create(refusal.topology, refusal.num_experts, refusal.slot_to_expert,
                                DuplicateRule::kRefuse, refusal.shares)
                  .status(),
              InvalidArgument(refusal.message));
  }
}

TEST(Placement, HoldsNoExpertInSlotsThatAreNotLive) {
  const Placement placement =
      Placement::Create(Uneven(), 4, {0, 1, 2, 3, 0, -1, -1, -1, -1}, DuplicateRule::kRefuse,
                        {0.25, 1, 1, 1, 0.75, 0, 0, 0, 0})
          .value();
  EXPECT_THAT(placement.slot_to_expert(0), ElementsAre(0, 1, 2, 3, 0, -1, -1, -1, -1));
  EXPECT_EQ(placement.CountDuplicates(), 0);
  EXPECT_EQ(placement.ToString(),
            "1 layer, 4 experts on 3 ranks x 3 slots on 1 node (1 dead, 2 to 3 slots), weighted "
            "split");
}

TEST(Placement, RefusesExpertsWhereTheyCannotBe) {
  const std::vector<Refusal> refusals = {
      {Uneven(),
       4,
       {0, 1, 2, 3, 0, 1, -1, -1, -1},
       {},
       "layer 0, slot 5 (rank 1): expert 1 where the rank has no live slot, only -1 fits"},
      {Uneven(),
       4,
       {0, 1, 2, 3, 0, -1, -1, 3, -1},
       {},
       "layer 0, slot 7 (rank 2): expert 3 where the rank has no live slot, only -1 fits"},
      {Uneven(),
       4,
       {0, 1, 2, 3, 0, -2, -1, -1, -1},
       {},
       "layer 0, slot 5 (rank 1): expert -2 where the rank has no live slot, only -1 fits"},
      {Uneven(),
       4,
       {0, 1, 2, 3, -1, -1, -1, -1, -1},
       {},
       "layer 0, slot 4 (rank 1): expert -1 is outside [0, 4)"},
      {Uneven(), 4, {0, 1, 2, 2, 0, -1, -1, -1, -1}, {}, "layer 0: expert 3 has no slot"},
      {Uneven(),
       4,
       {0, 1, 2, 3, 3, -1, -1, -1, -1},
       {},
       "layer 0: rank 1 holds expert 3 in slots 3 and 4"},
      {Uneven(), 6, {0, 1, 2, 3, 4, -1, -1, -1, -1}, {}, "5 slots are fewer than 6 experts"},
      {Uneven(),
       4,
       {0, 1, 2, 3, 0, -1, -1, -1, -1},
       {1, 1, 1, 1, 0, 0, 0.5, 0, 0},
       "layer 0, slot 6 (rank 2): share 0.5 of an empty slot is not 0"},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_EQ(Placement::Create(refusal.topology, refusal.num_experts, refusal.slot_to_expert,
                                DuplicateRule::kRefuse, refusal.shares)
                  .status(),
              InvalidArgument(refusal.message));
  }
}

TEST(Placement, ContiguousGoesFromLiveSlotToLiveSlot) {
  const Placement placement = Placement::Contiguous(Uneven(), 2, 4).value();
  EXPECT_THAT(placement.slot_to_expert(1), ElementsAre(0, 1, 2, 3, 0, -1, -1, -1, -1));
  EXPECT_TRUE(placement.IsContiguous(1));
  EXPECT_FALSE(
      Placement::Create(Uneven(), 4, {0, 1, 2, 0, 3, -1, -1, -1, -1}, DuplicateRule::kRefuse)
          ->IsContiguous(0));
  EXPECT_EQ(Placement::Contiguous(Uneven(), 1, 6).status(),
            InvalidArgument("5 slots are fewer than 6 experts"));
}

TEST(Placement, CountsDuplicatesWhereTheyAreAllowed) {
  // Rank 0 has expert 0 three times, rank 1 has none twice; layer 1 has one duplicate.
  const Placement placement =
      Placement::Create(Make(2, 3), 3, {0, 0, 0, 1, 2, 0, 0, 1, 2, 2, 1, 2}, DuplicateRule::kAllow)
          .value();
  EXPECT_EQ(placement.CountDuplicates(0), 2);
  EXPECT_EQ(placement.CountDuplicates(1), 1);
  EXPECT_EQ(placement.CountDuplicates(), 3);
  EXPECT_EQ(Placement::Create(Make(2, 3), 2, {0, 1, 0, 1, 0, 1}, DuplicateRule::kAllow)
                .value()
                .CountDuplicates(),
            2);
}

TEST(Placement, ContiguousPutsExpertPModuloExpertsInSlotP) {
  const Placement placement = Placement::Contiguous(Make(4, 3), 2, 8).value();
  EXPECT_THAT(placement.slot_to_expert(1), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
  EXPECT_TRUE(placement.IsContiguous(0) && placement.IsContiguous(1));
  EXPECT_FALSE(Example().IsContiguous(0));
  EXPECT_EQ(Placement::Contiguous(Make(4, 3), 0, 8).status(),
            InvalidArgument("num_layers is 0, but at least 1 is needed"));
  EXPECT_EQ(Placement::Contiguous(Make(2, 3), 1, 8).status(),
            InvalidArgument("6 slots are fewer than 8 experts"));
  EXPECT_EQ(Placement::Contiguous(Make(2, 9), 1, 8).status(),
            InvalidArgument("9 slots on a rank are more than 8 experts"));
}

TEST(Placement, DigestTellsPlacementsApart) {
  const std::vector<Placement> placements = {
      Example(),
      Example({0.5, 1, 0.5, 0.5, 1, 0.5}),
      Example({0.25, 1, 0.5, 0.5, 1, 0.75}),
      Placement::Create(Make(2, 3), 4, {0, 1, 2, 3, 2, 0}, DuplicateRule::kRefuse).value(),
      Placement::Create(Make(3, 2), 4, {0, 1, 2, 2, 3, 0}, DuplicateRule::kAllow).value(),
      Placement::Create(Make(2, 3, 2), 4, {0, 1, 2, 2, 3, 0}, DuplicateRule::kRefuse).value(),
  };
  std::set<uint64_t> digests;
  // The same experts in the same slots, on ranks that differ.
  TopologySpec spec;
  spec.num_ranks = 2;
  spec.slots_per_rank = 3;
  for (int kind = 0; kind < 4; ++kind) {
    spec.slots_of_rank = kind == 1 ? std::vector<int32_t>{3, 1} : std::vector<int32_t>();
    spec.dead_ranks = kind == 2 ? std::vector<int32_t>{1} : std::vector<int32_t>();
    spec.rank_speed = kind == 3 ? std::vector<double>{1, 2} : std::vector<double>();
    const Placement placement = Placement::Contiguous(Topology::Create(spec).value(), 1, 3).value();
    EXPECT_TRUE(digests.insert(placement.Digest()).second) << kind;
  }
  digests.clear();
  for (const Placement& placement : placements) {
    digests.insert(placement.Digest());
  }
  EXPECT_EQ(digests.size(), placements.size());
  EXPECT_EQ(Example({-0.0, 1, 1, 0, 1, 1}).Digest(), Example({0, 1, 1, 0, 1, 1}).Digest());
  // What every machine and every release must agree on.
  EXPECT_EQ(Example().Digest(), 16415574790567221673u);
  EXPECT_EQ(Example({0.25, 1, 0.5, 0.5, 1, 0.75}).Digest(), 14293378420798150048u);
}

TEST(CountMoves, CountsPairsOfExpertAndRankThatAreNew) {
  const Placement from = Example();  // 0 1 2 | 2 3 0
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
