#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "base/test_scale.h"
#include "comm/test_clock.h"
#include "comm/test_ranks.h"

namespace steelyard {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr std::chrono::seconds kLong(60);

VoteWords WordsOf(int rank, uint64_t vote_id, int seed) {
  std::mt19937_64 random(static_cast<uint64_t>(seed * 1000 + rank) * 7919 + vote_id);
  VoteWords words;
  for (int64_t& word : words) word = static_cast<int64_t>(random());
  return words;
}

VoteWords Minima(int num_ranks, uint64_t vote_id, int seed) {
  VoteWords minima = WordsOf(0, vote_id, seed);
  for (int rank = 1; rank < num_ranks; ++rank) {
    const VoteWords words = WordsOf(rank, vote_id, seed);
    for (int i = 0; i < kNumVoteWords; ++i) minima[i] = std::min(minima[i], words[i]);
  }
  return minima;
}

TEST(InprocVote, EveryWordIsTheMinimumOverRanks) {
  const auto statuses = RunRanks(3, [](Communicator& comm) -> Status {
    const int64_t rank = comm.rank();
    // The second word is a maximum: the minimum of ~x.
    STEELYARD_RETURN_IF_ERROR(comm.StartVote(7, {10 - rank, ~rank, -5, 0, 0, 0, 0, rank}));
    STEELYARD_ASSIGN_OR_RETURN(const VoteWords words, comm.WaitVote(7, Deadline::After(kLong)));
    EXPECT_EQ(words, (VoteWords{8, ~int64_t{2}, -5, 0, 0, 0, 0, 0}));
    return Status::Ok();
  });
  EXPECT_THAT(statuses, Each(Status::Ok()));
}

TEST(InprocVote, TwoOutstandingVotesKeepTheirResultsOverManyRounds) {
  for (const int num_ranks : {1, 2, 4, 8}) {
    for (int seed = 0; seed < Scaled(3); ++seed) {
      const auto statuses = RunRanks(num_ranks, [&](Communicator& comm) -> Status {
        // Ids rise with gaps; vote k is taken after k+1 has been started.
        const auto id = [](uint64_t k) { return 5 + 3 * k; };
        for (uint64_t k = 0; k <= 200; ++k) {
          if (k < 200) {
            STEELYARD_RETURN_IF_ERROR(comm.StartVote(id(k), WordsOf(comm.rank(), id(k), seed)));
          }
          if (k == 0) continue;
          STEELYARD_ASSIGN_OR_RETURN(const VoteWords words,
                                     comm.WaitVote(id(k - 1), Deadline::After(kLong)));
          EXPECT_EQ(words, Minima(num_ranks, id(k - 1), seed))
              << "seed " << seed << " vote " << id(k - 1) << " rank " << comm.rank();
        }
        return Status::Ok();
      });
      ASSERT_THAT(statuses, Each(Status::Ok())) << num_ranks << " ranks, seed " << seed;
    }
  }
}

TEST(InprocVote, TestSaysWhetherTheResultIsThere) {
  const auto ends = MakeInprocGroup(2);
  ASSERT_TRUE(ends[0]->StartVote(1, {}).ok());
  EXPECT_FALSE(ends[0]->TestVote(1).value());
  ASSERT_TRUE(ends[1]->StartVote(1, {}).ok());
  EXPECT_TRUE(ends[0]->TestVote(1).value());
  EXPECT_TRUE(ends[1]->TestVote(1).value());
}

TEST(InprocVote, SilentPeerFailsAtTheDeadline) {
  WaitersClock clock;
  const Deadline deadline = Deadline::After(std::chrono::milliseconds(250), clock);
  clock.Arm(3);
  const auto statuses = RunRanks(4, [&](Communicator& comm) -> Status {
    if (comm.rank() == 1) return Status::Ok();
    STEELYARD_RETURN_IF_ERROR(comm.StartVote(9, {}));
    return comm.WaitVote(9, deadline).status();
  });
  int num_late = 0;
  for (const int rank : {0, 2, 3}) {
    EXPECT_THAT(statuses[rank].message(),
                HasSubstr("waited 250 ms in vote 9 for rank 1: 3 of 4 ranks came"));
    num_late += statuses[rank].code() == StatusCode::kDeadlineExceeded;
  }
  EXPECT_GE(num_late, 1);
}

TEST(InprocVote, RanksThatStartDifferentVotesBreakTheGroup) {
  const auto ends = MakeInprocGroup(2);
  ASSERT_TRUE(ends[0]->StartVote(6, {}).ok());
  EXPECT_EQ(ends[1]->StartVote(7, {}),
            Internal("rank 1 starts vote 7 where rank 0 has started vote 6"));
  EXPECT_EQ(
      ends[0]->WaitVote(6, Deadline::After(kLong)).status(),
      Unavailable("the group is broken: rank 1 starts vote 7 where rank 0 has started vote 6"));
}

TEST(InprocVote, VotesOutOfOrderAreRefused) {
  const auto ends = MakeInprocGroup(1);
  Communicator& comm = *ends[0];
  const Deadline deadline = Deadline::After(kLong);
  EXPECT_EQ(comm.WaitVote(3, deadline).status(),
            FailedPrecondition("rank 0 has no open vote 3: never started, or taken"));
  ASSERT_TRUE(comm.StartVote(3, {}).ok());
  EXPECT_EQ(comm.StartVote(3, {}),
            FailedPrecondition("rank 0 starts vote 3 after vote 3: ids must rise"));
  ASSERT_TRUE(comm.StartVote(4, {}).ok());
  EXPECT_EQ(comm.StartVote(5, {}),
            FailedPrecondition("rank 0 starts vote 5 with 2 votes not taken yet"));
  EXPECT_EQ(comm.WaitVote(4, deadline).status(),
            FailedPrecondition("rank 0 takes vote 4 before an older one"));
  EXPECT_TRUE(comm.WaitVote(3, deadline).ok());
  EXPECT_TRUE(comm.WaitVote(4, deadline).ok());
  EXPECT_EQ(comm.TestVote(4).status(),
            FailedPrecondition("rank 0 has no open vote 4: never started, or taken"));
}

}  // namespace
}  // namespace steelyard
