#include "plan/steelyard_label.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/test_scale.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

std::vector<int32_t> Labelled(const LayerShape& shape, const std::vector<int32_t>& current,
                              std::vector<int32_t> slots) {
  RankLabeller labeller;
  labeller.Prepare(shape);
  labeller.Label(RowOf(shape, current), slots);
  return slots;
}

int NumKept(const LayerShape& shape, const std::vector<int32_t>& current,
            const std::vector<int32_t>& slots) {
  int kept = 0;
  for (int slot = 0; slot < shape.num_slots(); ++slot) {
    kept += RankHolds(shape, current, slot / shape.slots_per_rank, slots[slot]) ? 1 : 0;
  }
  return kept;
}

std::vector<int32_t> Renamed(const LayerShape& shape, const std::vector<int32_t>& slots,
                             const std::vector<int>& names) {
  std::vector<int32_t> renamed(slots.size());
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    std::copy_n(slots.begin() + rank * shape.slots_per_rank, shape.slots_per_rank,
                renamed.begin() + names[rank] * shape.slots_per_rank);
  }
  return renamed;
}

TEST(RankLabeller, TheBestAssignmentMayDenyARankItsLargestOverlap) {
  // New rank 0 shares three experts with old rank 0 and two with old rank 1, new rank 1 two and
  // none: together they keep 3 as they are, 4 the other way round.
  const LayerShape shape = {.num_experts = 8, .num_ranks = 2, .slots_per_rank = 4};
  EXPECT_EQ(Labelled(shape, {0, 1, 2, 3, 0, 1, 4, 5}, {0, 1, 2, 6, 2, 3, 6, 7}),
            (std::vector<int32_t>{2, 3, 6, 7, 0, 1, 2, 6}));
}

TEST(RankLabeller, UpToSixRanksNoPermutationKeepsMore) {
  for (int seed = 0; seed < Scaled(200); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const LayerShape shape = RandomShape(random, 1);
    const std::vector<int32_t> current = RandomSlots(random, shape);
    const std::vector<int32_t> planned = RandomSlots(random, shape);
    int most = 0;
    std::vector<int> names(shape.num_ranks);
    std::iota(names.begin(), names.end(), 0);
    do {
      most = std::max(most, NumKept(shape, current, Renamed(shape, planned, names)));
    } while (std::next_permutation(names.begin(), names.end()));
    ASSERT_EQ(NumKept(shape, current, Labelled(shape, current, planned)), most);
  }
}

TEST(RankLabeller, FindsAShuffledPlacementAgainWhateverTheNumberOfRanks) {
  for (const int num_ranks : {3, 64, 65, 200}) {
    SCOPED_TRACE(num_ranks);
    std::mt19937_64 random(num_ranks);
    const LayerShape shape = {
        .num_experts = num_ranks * 3 - 7, .num_ranks = num_ranks, .slots_per_rank = 3};
    const std::vector<int32_t> current = ContiguousSlots(shape);
    std::vector<int> names(num_ranks);
    std::iota(names.begin(), names.end(), 0);
    std::shuffle(names.begin(), names.end(), random);
    EXPECT_EQ(NumKept(shape, current, Labelled(shape, current, Renamed(shape, current, names))),
              shape.num_slots());
  }
}

TEST(RankLabeller, BeyondSixtyFourRanksEveryRankStillGetsOneName) {
  std::mt19937_64 random(7);
  const LayerShape shape = {.num_experts = 300, .num_ranks = 100, .slots_per_rank = 4};
  const std::vector<int32_t> current = ContiguousSlots(shape);
  const std::vector<int32_t> planned = RandomSlots(random, shape);
  const std::vector<int32_t> labelled = Labelled(shape, current, planned);
  std::vector<std::vector<int32_t>> before(100);
  std::vector<std::vector<int32_t>> after(100);
  for (int slot = 0; slot < shape.num_slots(); ++slot) {
    before[slot / 4].push_back(planned[slot]);
    after[slot / 4].push_back(labelled[slot]);
  }
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  EXPECT_EQ(before, after);
  EXPECT_GT(NumKept(shape, current, labelled), NumKept(shape, current, planned));
}

}  // namespace
}  // namespace steelyard
