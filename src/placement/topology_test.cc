#include "steelyard/placement/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// 4 ranks of 3, 2, 3 and 1 slots on 2 nodes; rank 2 is dead; rank 3 works half as fast.
TopologySpec Uneven() {
  TopologySpec spec;
  spec.num_ranks = 4;
  spec.slots_per_rank = 3;
  spec.num_nodes = 2;
  spec.slots_of_rank = {3, 2, 3, 1};
  spec.dead_ranks = {2};
  spec.rank_speed = {1, 1, 1, 0.5};
  return spec;
}

TEST(Topology, NumbersSlotsRankByRankAndRanksNodeByNode) {
  const Topology topology = Topology::Create(4, 3, 2).value();
  EXPECT_EQ(topology.num_slots(), 12);
  EXPECT_EQ(topology.ranks_per_node(), 2);
  EXPECT_EQ(topology.rank_of_slot(5), 1);
  EXPECT_EQ(topology.rank_of_slot(6), 2);
  EXPECT_EQ(topology.first_slot_of_rank(3), 9);
  EXPECT_EQ(topology.node_of_rank(1), 0);
  EXPECT_EQ(topology.node_of_rank(2), 1);
}

TEST(Topology, OfRanksThatAreAlikeHasOnlyLiveSlots) {
  const Topology topology = Topology::Create(4, 3, 2).value();
  EXPECT_TRUE(topology.is_plain());
  EXPECT_EQ(topology.num_live_slots(), 12);
  EXPECT_EQ(topology.num_live_ranks(), 4);
  EXPECT_EQ(topology.live_slots(3), 3);
  EXPECT_TRUE(topology.is_live_slot(11));
  EXPECT_FALSE(topology.is_dead(0));
  EXPECT_EQ(topology.speed(2), 1.0);
  EXPECT_EQ(topology.total_speed(), 4.0);
}

TEST(Topology, SaysWhichSlotsAreLiveAndHowFastRanksAre) {
  const Topology topology = Topology::Create(Uneven()).value();
  EXPECT_FALSE(topology.is_plain());
  EXPECT_EQ(topology.num_slots(), 12);
  EXPECT_EQ(topology.num_live_slots(), 6);
  EXPECT_EQ(topology.num_live_ranks(), 3);
  std::vector<int> live;
  for (int slot = 0; slot < topology.num_slots(); ++slot) {
    if (topology.is_live_slot(slot)) live.push_back(slot);
  }
  EXPECT_THAT(live, ElementsAre(0, 1, 2, 3, 4, 9));
  EXPECT_EQ(topology.live_slots(1), 2);
  EXPECT_EQ(topology.live_slots(2), 0);
  EXPECT_TRUE(topology.is_dead(2));
  EXPECT_FALSE(topology.is_dead(3));
  EXPECT_EQ(topology.speed(2), 0.0);
  EXPECT_EQ(topology.speed(3), 0.5);
  EXPECT_EQ(topology.total_speed(), 2.5);
}

TEST(Topology, GivesBackWhatItWasMadeFrom) {
  TopologySpec spec = Uneven();
  spec.dead_ranks = {2, 0};
  const TopologySpec back = Topology::Create(spec).value().spec();
  EXPECT_EQ(back.num_ranks, 4);
  EXPECT_EQ(back.slots_per_rank, 3);
  EXPECT_EQ(back.num_nodes, 2);
  EXPECT_THAT(back.slots_of_rank, ElementsAre(3, 2, 3, 1));
  EXPECT_THAT(back.dead_ranks, ElementsAre(0, 2));
  EXPECT_THAT(back.rank_speed, ElementsAre(1, 1, 1, 0.5));
  EXPECT_EQ(Topology::Create(back).value(), Topology::Create(spec).value());
}

TEST(Topology, ListsThatSayNothingAreLeftOut) {
  TopologySpec spec;
  spec.num_ranks = 2;
  spec.slots_per_rank = 3;
  spec.slots_of_rank = {3, 3};
  spec.rank_speed = {0.25, 0.25};
  const Topology topology = Topology::Create(spec).value();
  EXPECT_TRUE(topology.is_plain());
  EXPECT_EQ(topology, Topology::Create(2, 3).value());
  EXPECT_THAT(topology.spec().slots_of_rank, IsEmpty());
  EXPECT_THAT(topology.spec().rank_speed, IsEmpty());
}

TEST(Topology, AnyDifferenceMakesItAnother) {
  const Topology topology = Topology::Create(Uneven()).value();
  const auto changed = [](auto&& change) {
    TopologySpec spec = Uneven();
    change(spec);
    return Topology::Create(spec).value();
  };
  EXPECT_EQ(topology, changed([](TopologySpec&) {}));
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.num_nodes = 1; }));
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.slots_of_rank[3] = 2; }));
  // What a dead rank had says how many slots it has when it comes back.
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.slots_of_rank[2] = 2; }));
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.dead_ranks = {1}; }));
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.dead_ranks = {}; }));
  EXPECT_NE(topology, changed([](TopologySpec& spec) { spec.rank_speed[0] = 2; }));
}

TEST(Topology, LiveSlotsAgreeWithTheirDefinition) {
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    TopologySpec spec;
    spec.num_ranks = 1 + static_cast<int>(random() % 6);
    spec.slots_per_rank = 1 + static_cast<int>(random() % 6);
    const int alive = static_cast<int>(random() % spec.num_ranks);
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.slots_of_rank.push_back(1 + static_cast<int>(random() % spec.slots_per_rank));
      spec.rank_speed.push_back(1 + static_cast<double>(random() % 4));
      if (rank != alive && random() % 3 == 0) spec.dead_ranks.push_back(rank);
    }
    spec.slots_of_rank[random() % spec.num_ranks] = spec.slots_per_rank;
    const Topology topology = Topology::Create(spec).value();
    std::vector<int> live(spec.num_ranks, 0);
    int num_live = 0;
    for (int slot = 0; slot < topology.num_slots(); ++slot) {
      live[topology.rank_of_slot(slot)] += topology.is_live_slot(slot) ? 1 : 0;
      num_live += topology.is_live_slot(slot) ? 1 : 0;
    }
    EXPECT_EQ(topology.num_live_slots(), num_live);
    double total_speed = 0;
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      EXPECT_EQ(topology.live_slots(rank), live[rank]);
      EXPECT_EQ(live[rank], topology.is_dead(rank) ? 0 : spec.slots_of_rank[rank]);
      total_speed += topology.speed(rank);
    }
    EXPECT_EQ(topology.total_speed(), total_speed);
    EXPECT_EQ(Topology::Create(topology.spec()).value(), topology);
  }
}

TEST(Topology, PrintsItself) {
  EXPECT_EQ(Topology::Create(4, 9)->ToString(), "4 ranks x 9 slots on 1 node");
  EXPECT_EQ(Topology::Create(1, 1)->ToString(), "1 rank x 1 slot on 1 node");
  EXPECT_EQ(Topology::Create(4, 2, 2)->ToString(), "4 ranks x 2 slots on 2 nodes");
  EXPECT_EQ(Topology::Create(Uneven())->ToString(),
            "4 ranks x 3 slots on 2 nodes (1 dead, 1 to 3 slots, speeds 0.5 to 1)");
}

TEST(Topology, RefusesWhatCannotBe) {
  struct Row {
    int num_ranks, slots_per_rank, num_nodes;
    std::string message;
  };
  const std::vector<Row> rows = {
      {0, 1, 1, "num_ranks is 0, but at least 1 is needed"},
      {1, -1, 1, "slots_per_rank is -1, but at least 1 is needed"},
      {1, 1, 0, "num_nodes is 0, but at least 1 is needed"},
      {6, 1, 4, "6 ranks cannot be dealt evenly to 4 nodes"},
      {65536, 32768, 1, "65536 ranks x 32768 slots are too many to number"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(Topology::Create(row.num_ranks, row.slots_per_rank, row.num_nodes).status(),
              InvalidArgument(row.message));
  }
}

TEST(Topology, RefusesListsThatCannotBe) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  struct Row {
    std::vector<int32_t> slots_of_rank, dead_ranks;
    std::vector<double> rank_speed;
    std::string message;
  };
  const std::vector<Row> rows = {
      {{3, 2}, {}, {}, "slots_of_rank has 2 entries for 3 ranks"},
      {{3, 0, 1}, {}, {}, "slots_of_rank[1] is 0, outside [1, slots_per_rank = 3]"},
      {{3, 2, 4}, {}, {}, "slots_of_rank[2] is 4, outside [1, slots_per_rank = 3]"},
      {{2, 2, 1}, {}, {}, "slots_per_rank is 3, but no rank has as many slots"},
      {{}, {3}, {}, "dead rank 3 is outside [0, 3)"},
      {{}, {-1}, {}, "dead rank -1 is outside [0, 3)"},
      {{}, {1, 0, 1}, {}, "dead rank 1 is named twice"},
      {{}, {1, 0, 2}, {}, "all 3 ranks are dead"},
      {{}, {}, {1, 2, 3, 4}, "rank_speed has 4 entries for 3 ranks"},
      {{}, {}, {1, 0, 1}, "rank_speed[1] is 0, but must be finite and above 0"},
      {{}, {}, {1, 1, -2}, "rank_speed[2] is -2, but must be finite and above 0"},
      {{}, {}, {1, 1e-9, 1}, "rank_speed[1] is 1e-09, outside [1e-06, 1000000]"},
      {{}, {}, {1, 1, 1e300}, "rank_speed[2] is 1e+300, outside [1e-06, 1000000]"},
      {{}, {}, {kNan, 1, 1}, "rank_speed[0] is nan, but must be finite and above 0"},
  };
  for (const Row& row : rows) {
    TopologySpec spec;
    spec.num_ranks = 3;
    spec.slots_per_rank = 3;
    spec.slots_of_rank = row.slots_of_rank;
    spec.dead_ranks = row.dead_ranks;
    spec.rank_speed = row.rank_speed;
    EXPECT_EQ(Topology::Create(spec).status(), InvalidArgument(row.message));
  }
}

}  // namespace
}  // namespace steelyard
