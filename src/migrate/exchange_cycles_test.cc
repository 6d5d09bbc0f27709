// Every exchange falls apart into pieces for which one spare buffer per rank is enough.
#include "migrate/exchange_cycles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "base/test_scale.h"
#include "migrate/test_placements.h"

namespace steelyard {
namespace {

TEST(ExchangeCycles, TwoSwapsOfDifferentRanksAreTwoCycles) {
  const Topology topology = Topology::Create(4, 1).value();
  const std::vector<int32_t> from = {0, 1, 2, 3};
  const std::vector<int32_t> to = {1, 0, 3, 2};
  EXPECT_EQ(SplitIntoCycles(topology, 4, from, to).size(), 2U);
}

TEST(ExchangeCycles, ACopyTakesThePlaceOfACopy) {
  const Topology topology = Topology::Create(2, 2).value();
  const std::vector<int32_t> from = {0, 1, 1, 2};
  const std::vector<int32_t> to = {0, 1, 0, 2};
  const std::vector<ExchangeCycle> cycles = SplitIntoCycles(topology, 3, from, to);
  ASSERT_EQ(cycles.size(), 1U);
  ASSERT_EQ(cycles[0].changes.size(), 1U);
  EXPECT_EQ(cycles[0].changes[0].rank, 1);
  EXPECT_EQ(cycles[0].changes[0].arriving, 0);
  EXPECT_EQ(cycles[0].changes[0].leaving, 1);
}

// The buffers of one layer: every rank has one more than it has slots.
class Buffers {
 public:
  Buffers(const Topology& topology, std::span<const int32_t> slots) {
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const auto first = slots.begin() + topology.first_slot_of_rank(rank);
      experts_.emplace_back(first, first + topology.slots_per_rank());
      spare_.push_back(1);
    }
  }

  /// What is wrong with carrying out the cycle; empty where nothing is.
  std::string Apply(const ExchangeCycle& cycle) {
    for (const SlotChange& change : cycle.changes) {
      if (--spare_[change.rank] < 0) return "a rank needs a second spare buffer";
      if (!IsHeld(change.arriving)) return "an expert comes from nowhere";
    }
    for (const SlotChange& change : cycle.changes) {
      std::multiset<int32_t>& own = experts_[change.rank];
      const auto leaving = own.find(change.leaving);
      if (leaving == own.end()) return "what leaves was not there";
      own.erase(leaving);
      own.insert(change.arriving);
      if (own.count(change.arriving) > 1) return "a rank holds an expert twice";
      ++spare_[change.rank];
    }
    return "";
  }

  bool IsHeld(int32_t expert) const {
    return std::any_of(experts_.begin(), experts_.end(),
                       [&](const auto& own) { return own.contains(expert); });
  }
  const std::vector<std::multiset<int32_t>>& experts() const { return experts_; }

 private:
  std::vector<std::multiset<int32_t>> experts_;  // [num_ranks]
  std::vector<int> spare_;                       // [num_ranks]
};

TEST(ExchangeCycles, NeedOneSpareBufferPerRankInAnyOrder) {
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const RandomShape shape(random);
    const std::vector<int32_t> from = RandomLayer(shape.topology, shape.num_experts, random);
    const std::vector<int32_t> to = RandomLayer(shape.topology, shape.num_experts, random);
    std::vector<ExchangeCycle> cycles =
        SplitIntoCycles(shape.topology, shape.num_experts, from, to);
    std::shuffle(cycles.begin(), cycles.end(), random);
    Buffers buffers(shape.topology, from);
    for (const ExchangeCycle& cycle : cycles) {
      ASSERT_FALSE(cycle.changes.empty());
      ASSERT_EQ(buffers.Apply(cycle), "");
      for (int32_t expert = 0; expert < shape.num_experts; ++expert) {
        ASSERT_TRUE(buffers.IsHeld(expert)) << "expert " << expert << " is lost";
      }
    }
    ASSERT_EQ(buffers.experts(), Buffers(shape.topology, to).experts());
  }
}

}  // namespace
}  // namespace steelyard
