// Limits on who sends to whom hold over all rounds of a migration.
#include "migrate/transfer_sources.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "base/test_scale.h"
#include "migrate/test_placements.h"

namespace steelyard {
namespace {

LoadWindow Loads(int num_layers, int num_experts, std::vector<double> counts) {
  return LoadWindow::Create({1, 1, num_layers, num_experts}, std::move(counts)).value();
}

// What a migration comes to, carried out on tables alone.
struct Carried {
  Placement placement;            // at the end
  std::string wrong = {};         // empty where all is well
  int64_t largest_pair = 0;       // arrivals of a layer from one rank to another
  int64_t largest_crossings = 0;  // experts of a layer that enter a node which has none of them
  int64_t num_arrivals = 0;
};

Carried CarryOut(const Placement& from, const Migration& migration) {
  const Topology& topology = from.topology();
  Carried carried{.placement = from};
  std::map<std::tuple<int, int, int>, int64_t> pairs;      // by layer, source, receiver
  std::map<int, std::set<std::pair<int, int>>> crossings;  // by layer: expert, node
  for (const Round& round : migration.rounds) {
    const std::span<const int32_t> now = carried.placement.slot_to_expert();
    std::vector<int32_t> slots(now.begin(), now.end());
    for (const Arrival& arrival : round.arrivals) {
      ++carried.num_arrivals;
      const auto row = slots.begin() + size_t{1} * arrival.layer * topology.num_slots();
      const auto holds = [&](int rank) {
        const auto own = row + topology.first_slot_of_rank(rank);
        return std::count(own, own + topology.slots_per_rank(), arrival.expert) > 0;
      };
      if (!holds(arrival.source_rank)) carried.wrong = "the source does not hold the expert";
      int64_t& pair = pairs[{arrival.layer, arrival.source_rank, arrival.rank}];
      carried.largest_pair = std::max(carried.largest_pair, ++pair);
      const int node = topology.node_of_rank(arrival.rank);
      bool is_there = false;
      for (int rank = 0; rank < topology.num_ranks(); ++rank) {
        is_there = is_there || (topology.node_of_rank(rank) == node && holds(rank));
      }
      if (!is_there) crossings[arrival.layer].insert({arrival.expert, node});
    }
    for (const LayerStep& step : round.steps) {
      std::copy(step.slot_to_expert.begin(), step.slot_to_expert.end(),
                slots.begin() + size_t{1} * step.layer * topology.num_slots());
    }
    const Result<Placement> next =
        Placement::Create(topology, from.num_experts(), std::move(slots), DuplicateRule::kRefuse);
    if (!next.ok()) {
      carried.wrong = next.status().message();
      return carried;
    }
    carried.placement = *next;
  }
  for (const auto& [layer, experts] : crossings) {
    carried.largest_crossings =
        std::max(carried.largest_crossings, static_cast<int64_t>(experts.size()));
  }
  return carried;
}

// Rank 2 wants experts 0 and 4. Only rank 1 has 4, and only rank 0 has 0, which it gives to rank 1
// for 5: once it has, both would have to come from rank 1.
TEST(TransferSources, AnExpertIsSentBeforeItsHolderGivesItAway) {
  const Topology topology = Topology::Create(3, 3).value();
  const auto place = [&](std::vector<int32_t> slots) {
    return Placement::Create(topology, 6, std::move(slots), DuplicateRule::kRefuse).value();
  };
  const Placement from = place({0, 1, 2, 4, 3, 5, 5, 1, 2});
  const Placement to = place({5, 1, 2, 4, 3, 0, 5, 4, 0});
  const LoadWindow loads = Loads(1, 6, {9, 1, 1, 1, 90, 1});
  const Carried free = CarryOut(from, PlanMigration(from, to, loads, 1));
  ASSERT_EQ(free.wrong, "");
  EXPECT_EQ(free.largest_pair, 2);
  const Carried bound = CarryOut(from, PlanMigration(from, to, loads, 1, {.per_rank_pair = 1}));
  EXPECT_EQ(bound.wrong, "");
  EXPECT_EQ(bound.largest_pair, 1);
  EXPECT_EQ(bound.placement.slot_to_expert().back(), to.slot_to_expert().back());
  EXPECT_EQ(bound.num_arrivals, 4);
}

TEST(TransferSources, WhatNobodyMaySendIsLeftOutAndTheRestIsCarriedOut) {
  const Topology topology = Topology::Create(2, 3).value();
  const auto place = [&](std::vector<int32_t> slots) {
    return Placement::Create(topology, 6, std::move(slots), DuplicateRule::kRefuse).value();
  };
  const Placement from = place({0, 1, 2, 3, 4, 5});
  const Placement to = place({3, 4, 2, 0, 1, 5});
  const Migration migration =
      PlanMigration(from, to, Loads(1, 6, {50, 9, 1, 1, 1, 1}), 2, {.per_rank_pair = 1});
  const Carried carried = CarryOut(from, migration);
  EXPECT_EQ(carried.wrong, "");
  EXPECT_EQ(carried.num_arrivals, 2) << "one of the two exchanges";
  EXPECT_EQ(migration.num_arrivals, 2);
  EXPECT_EQ(carried.largest_pair, 1);
}

struct Case {
  Placement from;
  Placement to;
  LoadWindow loads;
  int staging;
};

// A few exchanges and copies, as plans have them, or something else altogether.
Case RandomCase(std::mt19937_64& random) {
  const RandomShape shape(random);
  Case instance{RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random),
                RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random),
                Loads(shape.num_layers, shape.num_experts,
                      std::vector<double>(size_t{1} * shape.num_layers * shape.num_experts, 1.0)),
                static_cast<int>(1 + random() % 4)};
  if (random() % 3 > 0) {
    const std::span<const int32_t> in_force = instance.from.slot_to_expert();
    std::vector<int32_t> slots(in_force.begin(), in_force.end());
    for (uint64_t left = random() % 8; left > 0; --left) {
      const size_t row = random() % shape.num_layers * shape.topology.num_slots();
      std::vector<int32_t> changed = slots;
      int32_t& one = changed[row + random() % shape.topology.num_slots()];
      int32_t& other = changed[row + random() % shape.topology.num_slots()];
      if (random() % 2 == 0) {
        std::swap(one, other);
      } else {
        one = other;
      }
      const Result<Placement> valid =
          Placement::Create(shape.topology, shape.num_experts, changed, DuplicateRule::kRefuse);
      if (valid.ok()) slots = changed;
    }
    instance.to = Placement::Create(shape.topology, shape.num_experts, std::move(slots),
                                    DuplicateRule::kRefuse)
                      .value();
  }
  return instance;
}

// Whether ranks in force can send all moves within the limit: of any arrivals of a rank there are
// no more than the limit times their holders (Hall's theorem). Nothing where that takes too long.
std::optional<bool> SendersSuffice(const Case& instance, int64_t limit) {
  const Topology& topology = instance.from.topology();
  for (int layer = 0; layer < instance.from.num_layers(); ++layer) {
    const std::span<const int32_t> before = instance.from.slot_to_expert(layer);
    const std::span<const int32_t> after = instance.to.slot_to_expert(layer);
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      std::vector<uint64_t> holders;  // of each arrival, a bit per rank
      const auto own = before.begin() + topology.first_slot_of_rank(rank);
      for (int slot = topology.first_slot_of_rank(rank);
           slot < topology.first_slot_of_rank(rank) + topology.slots_per_rank(); ++slot) {
        if (std::count(own, own + topology.slots_per_rank(), after[slot]) > 0) continue;
        uint64_t& bits = holders.emplace_back(0);
        for (size_t other = 0; other < before.size(); ++other) {
          if (before[other] == after[slot]) {
            bits |= uint64_t{1} << topology.rank_of_slot(static_cast<int>(other));
          }
        }
      }
      if (holders.size() > 10) return std::nullopt;
      for (uint64_t subset = 1; subset < uint64_t{1} << holders.size(); ++subset) {
        uint64_t senders = 0;
        for (size_t i = 0; i < holders.size(); ++i) {
          if ((subset >> i & 1) != 0) senders |= holders[i];
        }
        if (std::popcount(subset) > limit * std::popcount(senders)) return false;
      }
    }
  }
  return true;
}

TEST(TransferSources, NoPairOfRanksCarriesMoreThanTheLimit) {
  int num_promised = 0;
  int num_cut_short = 0;
  for (int seed = 0; seed < Scaled(4000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const Case instance = RandomCase(random);
    const auto limit = static_cast<int64_t>(random() % 4);
    const MoveLimits limits{.per_rank_pair = limit};
    const Carried carried = CarryOut(
        instance.from,
        PlanMigration(instance.from, instance.to, instance.loads, instance.staging, limits));
    ASSERT_EQ(carried.wrong, "");
    ASSERT_LE(carried.largest_pair, limit);
    if (!SendersSuffice(instance, limit).value_or(false)) continue;
    ++num_promised;
    const int num_moves = CountMoves(instance.from, instance.to);
    ASSERT_LE(carried.num_arrivals, num_moves);
    num_cut_short += carried.num_arrivals < num_moves ? 1 : 0;
  }
  EXPECT_GT(num_promised, Scaled(500));
  RecordProperty("cut_short", num_cut_short);
  // Exchanges of nearly everything may wait for each other in a circle that one round has no room
  // for.
  EXPECT_LE(num_cut_short, num_promised / 1000);
}

TEST(TransferSources, NoMoreExpertsEnterANodeThanTheLimit) {
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const Case instance = RandomCase(random);
    const auto limit = static_cast<int64_t>(random() % 6);
    const Carried carried =
        CarryOut(instance.from, PlanMigration(instance.from, instance.to, instance.loads,
                                              instance.staging, {.across_nodes = limit}));
    ASSERT_EQ(carried.wrong, "");
    ASSERT_LE(carried.largest_crossings, limit);
  }
}

}  // namespace
}  // namespace steelyard
