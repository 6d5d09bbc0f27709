#include "steelyard/placement/topology.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace steelyard {
namespace {

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

TEST(Topology, PrintsItself) {
  EXPECT_EQ(Topology::Create(4, 9)->ToString(), "4 ranks x 9 slots on 1 node");
  EXPECT_EQ(Topology::Create(1, 1)->ToString(), "1 rank x 1 slot on 1 node");
  EXPECT_EQ(Topology::Create(4, 2, 2)->ToString(), "4 ranks x 2 slots on 2 nodes");
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

}  // namespace
}  // namespace steelyard
