#include "steelyard/placement/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace steelyard {
namespace {

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

}  // namespace
}  // namespace steelyard
