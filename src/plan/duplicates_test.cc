#include "plan/duplicates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

Placement Allow(const Topology& topology, int num_experts, std::vector<int32_t> slots) {
  return Placement::Create(topology, num_experts, std::move(slots), DuplicateRule::kAllow).value();
}

TEST(ReplaceDuplicates, FillsTheSlotWithTheLargestLoadPerCopyThatTheRankLacks) {
  const Topology topology = Topology::Create(2, 3).value();
  // Rank 0 holds expert 0 twice. It lacks 2 and 3; 3 has the larger load, but two copies.
  const Placement placement = Allow(topology, 4, {0, 1, 0, 2, 3, 0});
  const std::vector<double> loads = {100, 1, 7, 6};
  const WithoutDuplicates repaired = ReplaceDuplicates(placement, loads).value();
  EXPECT_EQ(repaired.num_replaced, 1);
  EXPECT_THAT(repaired.placement.slot_to_expert(0), testing::ElementsAre(0, 1, 2, 2, 3, 0));
}

TEST(ReplaceDuplicates, CountsCopiesWithoutTheDuplicates) {
  const Topology topology = Topology::Create(2, 3).value();
  // Expert 1 has one copy that counts, so rank 1, which lacks it, takes it at 5 rather than expert
  // 0 at 4.
  const Placement placement = Allow(topology, 3, {0, 1, 1, 2, 2, 2});
  const std::vector<double> loads = {4, 5, 90};
  const WithoutDuplicates repaired = ReplaceDuplicates(placement, loads).value();
  EXPECT_EQ(repaired.num_replaced, 3);
  EXPECT_THAT(repaired.placement.slot_to_expert(0), testing::ElementsAre(0, 1, 2, 2, 1, 0));
}

TEST(ReplaceDuplicates, RefusesARankWithMoreSlotsThanExperts) {
  const Placement placement = Allow(Topology::Create(1, 3).value(), 2, {0, 1, 0});
  const Result<WithoutDuplicates> repaired =
      ReplaceDuplicates(placement, std::vector<double>{1, 1});
  ASSERT_FALSE(repaired.ok());
  EXPECT_EQ(repaired.status().message(), "3 slots on a rank are more than 2 experts");
}

TEST(ReplaceDuplicates, LeavesValidPlacementsWithEverythingElseInPlace) {
  for (int seed = 0; seed < Scaled(300); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const int num_ranks = 1 + static_cast<int>(random() % 6);
    const int num_experts = 1 + static_cast<int>(random() % 12);
    const int smallest = (num_experts + num_ranks - 1) / num_ranks;
    const int slots_per_rank = smallest + static_cast<int>(random() % (num_experts - smallest + 1));
    const Topology topology = Topology::Create(num_ranks, slots_per_rank).value();
    std::vector<int32_t> slots(2 * topology.num_slots());
    for (size_t slot = 0; slot < slots.size(); ++slot) {
      const int in_layer = static_cast<int>(slot) % topology.num_slots();
      slots[slot] = in_layer < num_experts ? in_layer : static_cast<int>(random() % num_experts);
    }
    std::vector<double> loads(2 * num_experts);
    for (double& load : loads) {
      load = static_cast<double>(random() % 5);
    }
    const Placement placement = Allow(topology, num_experts, slots);
    const Result<WithoutDuplicates> repaired = ReplaceDuplicates(placement, loads);
    ASSERT_TRUE(repaired.ok()) << repaired.status().ToString();
    ASSERT_EQ(repaired->num_replaced, placement.CountDuplicates());
    ASSERT_EQ(repaired->placement.CountDuplicates(), 0);
    int num_changed = 0;
    for (size_t slot = 0; slot < slots.size(); ++slot) {
      num_changed += repaired->placement.slot_to_expert()[slot] != slots[slot] ? 1 : 0;
    }
    ASSERT_EQ(num_changed, repaired->num_replaced);
  }
}

}  // namespace
}  // namespace steelyard
