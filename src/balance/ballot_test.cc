#include "balance/ballot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace steelyard {
namespace {

Verdict Reduce(const std::vector<Ballot>& ballots) {
  VoteWords words = ballots[0].Pack(0);
  for (size_t rank = 1; rank < ballots.size(); ++rank) {
    const VoteWords more = ballots[rank].Pack(static_cast<int>(rank));
    for (size_t i = 0; i < words.size(); ++i) words[i] = std::min(words[i], more[i]);
  }
  return Verdict::Unpack(words);
}

TEST(Ballot, EqualBallotsAreAgreement) {
  const Ballot ballot{7, true, 0xfedcba9876543210u, 2, Objection::kNone};
  const Verdict verdict = Reduce({ballot, ballot, ballot});
  EXPECT_TRUE(verdict.same_cycle_and_round);
  EXPECT_TRUE(verdict.all_ready);
  EXPECT_TRUE(verdict.digests_equal);
  EXPECT_EQ(verdict.objection, Objection::kNone);
}

TEST(Ballot, OneRankThatIsNotReadyIsEnough) {
  EXPECT_FALSE(Reduce({{7, true}, {7, false}, {7, true}}).all_ready);
}

// Digests use all 64 bits, the sign of a word among them.
TEST(Ballot, DigestsThatDifferInOneBitAreUnequal) {
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t digest = 0x0123456789abcdefu;
    EXPECT_FALSE(
        Reduce({{7, true, digest}, {7, true, digest ^ (uint64_t{1} << bit)}}).digests_equal)
        << "bit " << bit;
  }
}

TEST(Ballot, CyclesOrRoundsThatDifferAreSeen) {
  EXPECT_FALSE(Reduce({{7, true}, {8, true}}).same_cycle_and_round);
  EXPECT_FALSE(Reduce({{7, true, 0, -1}, {7, true, 0, 0}}).same_cycle_and_round);
}

TEST(Ballot, TheLowestObjectionIsToldWithItsLowestRank) {
  const Ballot well{7, true};
  const Ballot late{7, false, 0, -1, Objection::kPlanLate};
  const Ballot failed{7, false, 0, -1, Objection::kPlanFailed};
  const Verdict verdict = Reduce({well, late, well, failed, failed});
  EXPECT_EQ(verdict.objection, Objection::kPlanFailed);
  EXPECT_EQ(verdict.objecting_rank, 3);
}

}  // namespace
}  // namespace steelyard
