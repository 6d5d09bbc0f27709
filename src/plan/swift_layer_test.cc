#include "plan/swift_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/test_scale.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

struct Layer {
  Topology topology;
  std::vector<double> loads;
  std::vector<int32_t> before;

  double mean_load() const {
    return std::accumulate(loads.begin(), loads.end(), 0.0) / topology.num_ranks();
  }
};

struct Answer {
  std::vector<int32_t> slots;
  SwiftLoads max_load;
};

Answer Place(const Layer& layer, double mean_load) {
  Answer answer{.slots = std::vector<int32_t>(layer.before.size()), .max_load = {}};
  answer.max_load =
      SwiftLayer().Place(layer.loads, mean_load, layer.before, layer.topology, answer.slots);
  return answer;
}

// Ranks weigh 12 and 4. Whichever expert of rank 0 goes for whichever of rank 1, one of them ends
// at 10; the first such exchange wins, and with a transfer each way there is no second.
TEST(SwiftLayer, ExchangesOnceBetweenTwoRanks) {
  const Answer answer =
      Place({Topology::Create(2, 2).value(), {8, 4, 2, 2}, {0, 1, 2, 3}}, /*mean_load=*/8);
  EXPECT_EQ(answer.slots, (std::vector<int32_t>{2, 1, 0, 3}));
  EXPECT_EQ(answer.max_load.before, 12);
  EXPECT_EQ(answer.max_load.after, 10);
}

/// Ranks hold 0 1 2 and 3 2 1, and weigh 16.5 and 7.5. Homes are 0 and 1 on rank 0, 3 and 2 on rank
/// 1, so that each rank has one redundant slot. Of the extra copies, that of 0 goes to rank 1; that
/// of 1 finds no slot but on its own rank and is dropped. Rank 0 takes 3, the higher of two equals.
/// Each way there has been a transfer then: no exchange. Ranks weigh 13.5 and 10.5.
Layer TwoRedundantSlots() {
  return {Topology::Create(2, 3).value(), {12, 6, 3, 3}, {0, 1, 2, 3, 2, 1}};
}

TEST(SwiftLayer, FillsRedundantSlotsAnew) {
  const Answer answer = Place(TwoRedundantSlots(), /*mean_load=*/12);
  EXPECT_EQ(answer.slots, (std::vector<int32_t>{0, 1, 3, 3, 2, 0}));
  EXPECT_EQ(answer.max_load.before, 16.5);
  EXPECT_EQ(answer.max_load.after, 13.5);
}

TEST(SwiftLayer, ALayerIsMeasuredByTheMeanOfTheFirst) {
  const Layer layer = TwoRedundantSlots();
  EXPECT_EQ(Place(layer, /*mean_load=*/9).slots, layer.before);  // 13.5 / 9 is above 16.5 / 12
  EXPECT_NE(Place(layer, /*mean_load=*/10).slots, layer.before);
  EXPECT_EQ(Place(layer, /*mean_load=*/0).slots, layer.before);
}

TEST(SwiftLayer, ALevelLayerIsNotPlanned) {
  const Layer layer = {Topology::Create(2, 2).value(), {201, 100, 199, 100}, {0, 1, 2, 3}};
  const Answer answer = Place(layer, layer.mean_load());
  EXPECT_EQ(answer.slots, layer.before);
  EXPECT_EQ(answer.max_load.before, 301);
  EXPECT_EQ(answer.max_load.after, 301);
}

TEST(SwiftLayer, ALayerWithoutLoadIsKept) {
  const Layer layer = {Topology::Create(2, 2).value(), {0, 0, 0, 0}, {0, 1, 2, 3}};
  EXPECT_EQ(Place(layer, 0).slots, layer.before);
}

/// Every expert has a slot; where `may_duplicate`, a rank may hold one in several.
Layer RandomLayer(std::mt19937& random, int slots_per_rank, int redundancy, bool may_duplicate) {
  const int num_ranks = 2 + static_cast<int>(random() % 6);
  const Topology topology = Topology::Create(num_ranks, slots_per_rank).value();
  const int num_experts = std::max(slots_per_rank, num_ranks * slots_per_rank - redundancy);
  Layer layer{.topology = topology, .loads = std::vector<double>(num_experts), .before = {}};
  for (double& tokens : layer.loads) {
    tokens = static_cast<double>(random() % 10 == 0 ? random() % 5000 : random() % 500);
  }
  const Placement contiguous = Placement::Contiguous(topology, 1, num_experts).value();
  const std::span<const int32_t> slots = contiguous.slot_to_expert(0);
  layer.before.assign(slots.begin(), slots.end());
  if (may_duplicate) {
    for (size_t i = layer.before.size(); i > 1; --i) {
      std::swap(layer.before[i - 1], layer.before[random() % i]);
    }
  }
  return layer;
}

TEST(SwiftLayer, CarriesOneExpertAtMostFromOneRankToAnother) {
  int num_moves = 0;
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayer(random, 5, /*redundancy=*/0, /*may_duplicate=*/true);
    const Answer answer = Place(layer, layer.mean_load());
    const int num_ranks = layer.topology.num_ranks();
    std::vector<int> carried(num_ranks * num_ranks);
    for (int slot = 0; slot < layer.topology.num_slots(); ++slot) {
      const auto had = std::find(layer.before.begin(), layer.before.end(), answer.slots[slot]);
      const int from = layer.topology.rank_of_slot(static_cast<int>(had - layer.before.begin()));
      const int to = layer.topology.rank_of_slot(slot);
      if (from != to) {
        ASSERT_EQ(++carried[from * num_ranks + to], 1);
        ++num_moves;
      } else {
        ASSERT_EQ(answer.slots[slot], layer.before[slot]) << "what stays keeps its slot";
      }
    }
    ASSERT_LE(answer.max_load.after, answer.max_load.before);
  }
  EXPECT_GT(num_moves, 0);
}

TEST(SwiftLayer, ALayerThatIsPlannedHasNoDuplicatesWhateverWasInForce) {
  int num_replaced = 0;
  for (int seed = 0; seed < Scaled(500); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayer(random, 4, /*redundancy=*/6, /*may_duplicate=*/true);
    const auto num_experts = static_cast<int>(layer.loads.size());
    const int had =
        Placement::Create(layer.topology, num_experts, layer.before, DuplicateRule::kAllow)
            .value()
            .CountDuplicates();
    const Answer answer = Place(layer, layer.mean_load());
    const Result<Placement> after =
        Placement::Create(layer.topology, num_experts, answer.slots, DuplicateRule::kAllow);
    ASSERT_TRUE(after.ok()) << after.status().ToString();
    if (answer.slots != layer.before) {
      ASSERT_EQ(after->CountDuplicates(), 0);
      num_replaced += had;
    }
  }
  EXPECT_GT(num_replaced, 0);
}

}  // namespace
}  // namespace steelyard
