#include "migrate/migration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "base/test_scale.h"
#include "migrate/test_placements.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;

Placement OneLayer(int num_ranks, int slots_per_rank, int num_experts, std::vector<int32_t> slots,
                   int num_nodes = 1) {
  const Topology topology = Topology::Create(num_ranks, slots_per_rank, num_nodes).value();
  return Placement::Create(topology, num_experts, std::move(slots), DuplicateRule::kRefuse).value();
}

LoadWindow Loads(int num_layers, int num_experts, std::vector<double> counts) {
  return LoadWindow::Create({1, 1, num_layers, num_experts}, std::move(counts)).value();
}

LoadWindow RandomLoads(int num_layers, int num_experts, std::mt19937_64& random) {
  std::vector<double> counts(static_cast<size_t>(num_layers) * num_experts);
  for (double& count : counts) count = static_cast<double>(random() % 1000);
  return Loads(num_layers, num_experts, std::move(counts));
}

TEST(Migration, TwoRanksSwapOneExpertInOneRound) {
  const Placement from = OneLayer(2, 2, 4, {0, 1, 2, 3});
  const Placement to = OneLayer(2, 2, 4, {0, 2, 1, 3});
  const Migration migration = PlanMigration(from, to, Loads(1, 4, {9, 9, 1, 1}), 1);
  ASSERT_EQ(migration.rounds.size(), 1u);
  ASSERT_EQ(migration.rounds[0].arrivals.size(), 2u);
  EXPECT_EQ(migration.rounds[0].arrivals[0].expert, 2);
  EXPECT_EQ(migration.rounds[0].arrivals[0].source_rank, 1);
  EXPECT_EQ(migration.rounds[0].arrivals[1].expert, 1);
  EXPECT_EQ(migration.rounds[0].arrivals[1].source_rank, 0);
  EXPECT_THAT(migration.rounds[0].steps[0].slot_to_expert, ElementsAre(0, 2, 1, 3));
}

TEST(Migration, NothingToDoHasNoRounds) {
  const Placement same = OneLayer(2, 2, 4, {0, 1, 2, 3});
  EXPECT_TRUE(PlanMigration(same, same, Loads(1, 4, {1, 2, 3, 4}), 1).rounds.empty());
}

TEST(Migration, AnotherSlotOrderIsARoundWithoutArrivals) {
  const Placement from = OneLayer(2, 2, 4, {0, 1, 2, 3});
  const Placement to = OneLayer(2, 2, 4, {1, 0, 2, 3});
  const Migration migration = PlanMigration(from, to, Loads(1, 4, {1, 1, 1, 1}), 1);
  ASSERT_EQ(migration.rounds.size(), 1u);
  EXPECT_TRUE(migration.rounds[0].arrivals.empty());
  EXPECT_THAT(migration.rounds[0].steps[0].slot_to_expert, ElementsAre(1, 0, 2, 3));
}

TEST(Migration, TheRoundThatCoolsTheHottestRankComesFirst) {
  // Ranks 0 and 1 trade cold experts, ranks 2 and 3 trade a hot one for a cold one.
  const Placement from = OneLayer(4, 2, 8, {0, 1, 2, 3, 4, 5, 6, 7});
  const Placement to = OneLayer(4, 2, 8, {0, 2, 1, 3, 4, 6, 5, 7});
  const Migration migration = PlanMigration(from, to, Loads(1, 8, {1, 1, 1, 1, 50, 50, 1, 1}), 1);
  ASSERT_EQ(migration.rounds.size(), 1u) << "ranks of the two cycles differ, so they share a round";
  const Placement chain = OneLayer(4, 2, 8, {2, 3, 0, 1, 6, 7, 4, 5});
  const Migration two = PlanMigration(from, chain, Loads(1, 8, {1, 1, 1, 1, 50, 2, 1, 1}), 1);
  ASSERT_EQ(two.rounds.size(), 2u);
  std::set<int32_t> first;
  for (const Arrival& arrival : two.rounds[0].arrivals) first.insert(arrival.expert);
  EXPECT_TRUE(first.contains(4)) << "moving the hot expert 4 levels most";
}

TEST(Migration, ASourceOnTheReceiversNodeIsPreferred) {
  // Expert 0 sits on rank 1 (node 0) and rank 2 (node 1); rank 3 (node 1) gets a copy.
  const Placement from = OneLayer(4, 2, 6, {1, 2, 0, 3, 0, 4, 5, 4}, 2);
  const Placement to = OneLayer(4, 2, 6, {1, 2, 0, 3, 0, 4, 5, 0}, 2);
  const Migration migration = PlanMigration(from, to, Loads(1, 6, {9, 1, 1, 1, 1, 1}), 1);
  ASSERT_EQ(migration.rounds[0].arrivals.size(), 1u);
  EXPECT_EQ(migration.rounds[0].arrivals[0].source_rank, 2);
}

TEST(Migration, AnExpertThatANodeNeedsTwiceCrossesTheLinkOnceAndIsRelayed) {
  // Expert 0 lives on node 0 alone; both ranks of node 1 get a copy of it over their copies of 4
  // and 5.
  const Placement from = OneLayer(4, 3, 6, {0, 1, 2, 1, 2, 3, 3, 4, 5, 3, 4, 5}, 2);
  const Placement to = OneLayer(4, 3, 6, {0, 1, 2, 1, 2, 3, 3, 0, 5, 3, 4, 0}, 2);
  const Migration migration = PlanMigration(from, to, Loads(1, 6, {9, 1, 1, 1, 1, 1}), 2);
  int crossings = 0;
  for (const Round& round : migration.rounds) {
    for (const Arrival& arrival : round.arrivals)
      crossings += arrival.source_rank / 2 != arrival.rank / 2 ? 1 : 0;
  }
  EXPECT_EQ(crossings, 1);
  EXPECT_EQ(migration.rounds.size(), 2u);
}

TEST(Migration, SourcesShareTheSending) {
  // Expert 0 on ranks 0 and 1; ranks 2 and 3 each get a copy.
  const Placement from = OneLayer(4, 2, 4, {0, 1, 0, 2, 1, 2, 3, 1});
  const Placement to = OneLayer(4, 2, 4, {0, 1, 0, 2, 1, 0, 3, 0});
  const Migration migration = PlanMigration(from, to, Loads(1, 4, {9, 1, 1, 1}), 1);
  ASSERT_EQ(migration.num_arrivals, 2);
  std::set<int32_t> sources;
  for (const Round& round : migration.rounds) {
    for (const Arrival& arrival : round.arrivals) sources.insert(arrival.source_rank);
  }
  EXPECT_EQ(sources.size(), 2u);
}

// Carries a migration out on tables alone and checks what must hold after every round.
void CheckRounds(const Placement& from, const Placement& to, const Migration& migration,
                 int staging, const std::string& where) {
  const Topology& topology = from.topology();
  std::vector<std::vector<int32_t>> tables;
  for (int layer = 0; layer < from.num_layers(); ++layer) {
    tables.emplace_back(from.slot_to_expert(layer).begin(), from.slot_to_expert(layer).end());
  }
  int64_t arrivals = 0;
  for (const Round& round : migration.rounds) {
    std::map<int, int> per_rank;
    std::set<std::tuple<int, int, int>> arriving;
    for (const Arrival& arrival : round.arrivals) {
      ++arrivals;
      ASSERT_LE(++per_rank[arrival.rank], staging) << where;
      const auto& table = tables[arrival.layer];
      const auto source = table.begin() + topology.first_slot_of_rank(arrival.source_rank);
      ASSERT_NE(std::find(source, source + topology.slots_per_rank(), arrival.expert),
                source + topology.slots_per_rank())
          << where << ": the source does not hold the expert before the round";
      arriving.insert({arrival.layer, arrival.rank, arrival.expert});
    }
    for (const LayerStep& step : round.steps) {
      const Result<Placement> valid = Placement::Create(
          topology, from.num_experts(), step.slot_to_expert, DuplicateRule::kRefuse);
      ASSERT_TRUE(valid.ok()) << where << ": " << valid.status().message();
      for (int slot = 0; slot < topology.num_slots(); ++slot) {
        const int rank = topology.rank_of_slot(slot);
        const auto own = tables[step.layer].begin() + topology.first_slot_of_rank(rank);
        const bool held = std::find(own, own + topology.slots_per_rank(),
                                    step.slot_to_expert[slot]) != own + topology.slots_per_rank();
        ASSERT_TRUE(held || arriving.contains({step.layer, rank, step.slot_to_expert[slot]}))
            << where << ": bytes from nowhere";
      }
    }
    for (const LayerStep& step : round.steps) tables[step.layer] = step.slot_to_expert;
  }
  for (int layer = 0; layer < from.num_layers(); ++layer) {
    ASSERT_TRUE(
        std::equal(tables[layer].begin(), tables[layer].end(), to.slot_to_expert(layer).begin()))
        << where;
  }
  ASSERT_EQ(arrivals, CountMoves(from, to))
      << where << ": every move travels once and nothing else does";
  ASSERT_EQ(arrivals, migration.num_arrivals) << where;
}

TEST(Migration, EveryRoundLeavesAPlacementAndFitsTheStagingBuffers) {
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    std::mt19937_64 random(seed);
    const RandomShape shape(random);
    const Placement from =
        RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random);
    const Placement to =
        RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random);
    const LoadWindow loads = RandomLoads(shape.num_layers, shape.num_experts, random);
    const int staging = static_cast<int>(1 + random() % 4);
    CheckRounds(from, to, PlanMigration(from, to, loads, staging), staging,
                "seed " + std::to_string(seed));
  }
}

}  // namespace
}  // namespace steelyard
