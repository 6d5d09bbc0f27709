#include "plan/steelyard_scratch.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/test_scale.h"
#include "plan/score.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

std::vector<int32_t> Place(const LayerShape& shape, const std::vector<double>& loads,
                           const std::vector<int32_t>& copies) {
  ScratchPlacer placer;
  placer.Prepare(shape);
  std::vector<int32_t> slots(shape.num_slots(), -1);
  placer.Place(loads, copies, slots);
  return slots;
}

TEST(ScratchPlacer, DealsTheHeaviestCopyToTheCoolestRank) {
  // Copies of 6, 6 (of expert 0), 5, 4, 3, 1: ranks take 6 | 6, then 5 | 4, then 1 | 3.
  const LayerShape shape = {.num_experts = 5, .num_ranks = 2, .slots_per_rank = 3};
  EXPECT_EQ(Place(shape, {12, 5, 4, 3, 1}, {2, 1, 1, 1, 1}),
            (std::vector<int32_t>{0, 1, 4, 0, 2, 3}));
}

TEST(ScratchPlacer, ACopyWithoutALegalRankIsPlacedByAnExchange) {
  // Expert 0 fills rank 0's load, so 1, 2 and 3 go to rank 1 and fill its slots; expert 4, on both
  // ranks, then finds room on rank 0 alone: a rank with room takes an expert of rank 1, which takes
  // the copy.
  const LayerShape shape = {.num_experts = 5, .num_ranks = 2, .slots_per_rank = 3};
  const std::vector<int32_t> slots = Place(shape, {100, 5, 4, 3, 2}, {1, 1, 1, 1, 2});
  for (int rank = 0; rank < 2; ++rank) EXPECT_TRUE(RankHolds(shape, slots, rank, 4)) << rank;
  for (int expert = 0; expert < 4; ++expert) {
    EXPECT_EQ(std::count(slots.begin(), slots.end(), expert), 1) << expert;
  }
}

TEST(ScratchPlacer, PlacesEveryCopyAndNoExpertTwiceOnARank) {
  ScoreWorkspace score;
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, 1);
    const std::vector<double> loads = LogNormalLoads(random, shape.num_experts, Draw(random, 0, 3));
    std::vector<int32_t> copies(shape.num_experts);
    Apportion(loads, shape.num_ranks, shape.num_slots(), copies, score);
    const std::vector<int32_t> slots = Place(shape, loads, copies);
    for (int expert = 0; expert < shape.num_experts; ++expert) {
      int holders = 0;
      for (int rank = 0; rank < shape.num_ranks; ++rank) {
        holders += RankHolds(shape, slots, rank, expert) ? 1 : 0;
      }
      ASSERT_EQ(holders, copies[expert]) << "expert " << expert;
      ASSERT_EQ(std::count(slots.begin(), slots.end(), expert), copies[expert]);
    }
  }
}

}  // namespace
}  // namespace steelyard
