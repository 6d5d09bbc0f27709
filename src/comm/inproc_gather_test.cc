#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "base/test_scale.h"
#include "comm/test_clock.h"
#include "comm/test_ranks.h"

namespace steelyard {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr std::chrono::seconds kLong(60);

std::vector<std::byte> PartOf(int rank, uint64_t gather_id, size_t part_bytes) {
  std::vector<std::byte> part(part_bytes);
  for (size_t i = 0; i < part_bytes; ++i) {
    part[i] = static_cast<std::byte>(37 * static_cast<size_t>(rank) + 11 * gather_id + i);
  }
  return part;
}

std::vector<std::byte> AllParts(int num_ranks, uint64_t gather_id, size_t part_bytes) {
  std::vector<std::byte> all;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const std::vector<std::byte> part = PartOf(rank, gather_id, part_bytes);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

TEST(InprocGather, PartsAreOrderedByRankOverManyRounds) {
  for (const int num_ranks : {1, 2, 3, 8}) {
    for (const size_t part_bytes : {size_t{0}, size_t{1}, size_t{4096}}) {
      const auto statuses = RunRanks(num_ranks, [&](Communicator& comm) -> Status {
        std::vector<std::byte> all(part_bytes * static_cast<size_t>(num_ranks));
        for (uint64_t id = 1; id <= static_cast<uint64_t>(Scaled(100)) + 3; ++id) {
          STEELYARD_RETURN_IF_ERROR(comm.StartGather(id, PartOf(comm.rank(), id, part_bytes)));
          if (id <= 3) continue;  // three stay open
          STEELYARD_RETURN_IF_ERROR(comm.TakeGather(id - 3, all, Deadline::After(kLong)));
          EXPECT_EQ(all, AllParts(num_ranks, id - 3, part_bytes))
              << "gather " << id - 3 << " rank " << comm.rank();
        }
        return Status::Ok();
      });
      ASSERT_THAT(statuses, Each(Status::Ok())) << num_ranks << " ranks, " << part_bytes;
    }
  }
}

TEST(InprocGather, TestSaysWhetherEveryPartIsThere) {
  const auto ends = MakeInprocGroup(2);
  ASSERT_TRUE(ends[0]->StartGather(1, PartOf(0, 1, 3)).ok());
  EXPECT_FALSE(ends[0]->TestGather(1).value());
  ASSERT_TRUE(ends[1]->StartGather(1, PartOf(1, 1, 3)).ok());
  EXPECT_TRUE(ends[0]->TestGather(1).value());
}

TEST(InprocGather, AnOlderGatherThanTheLastFourIsDropped) {
  const auto ends = MakeInprocGroup(2);
  for (uint64_t id = 1; id <= 5; ++id) {
    for (const auto& end : ends) {
      ASSERT_TRUE(end->StartGather(id, PartOf(end->rank(), id, 2)).ok());
    }
  }
  std::vector<std::byte> all(4);
  const Deadline deadline = Deadline::After(kLong);
  EXPECT_EQ(ends[0]->TakeGather(1, all, deadline),
            FailedPrecondition(
                "rank 0 has no open gather 1: never started, taken, or dropped for newer ones"));
  EXPECT_EQ(ends[0]->TestGather(1).status().code(), StatusCode::kFailedPrecondition);
  for (uint64_t id = 2; id <= 5; ++id) {
    ASSERT_TRUE(ends[0]->TakeGather(id, all, deadline).ok());
    EXPECT_EQ(all, AllParts(2, id, 2));
    EXPECT_FALSE(ends[0]->TakeGather(id, all, deadline).ok()) << "taken twice";
  }
}

// A rank that is up to four starts behind finds every part; farther behind it gets an error and no
// other gather's bytes.
TEST(InprocGather, ALaggingRankIsServedOrRefused) {
  const auto ends = MakeInprocGroup(2);
  std::vector<std::byte> all(4);
  const Deadline deadline = Deadline::After(kLong);
  ASSERT_TRUE(ends[1]->StartGather(1, PartOf(1, 1, 2)).ok());
  for (uint64_t id = 1; id <= 8; ++id) {
    ASSERT_TRUE(ends[0]->StartGather(id, PartOf(0, id, 2)).ok());
  }
  ASSERT_TRUE(ends[1]->TakeGather(1, all, deadline).ok());
  EXPECT_EQ(all, AllParts(2, 1, 2));
  ASSERT_TRUE(ends[0]->StartGather(12, PartOf(0, 12, 2)).ok());
  ASSERT_TRUE(ends[0]->StartGather(13, PartOf(0, 13, 2)).ok());
  ASSERT_TRUE(ends[1]->StartGather(2, PartOf(1, 2, 2)).ok());
  EXPECT_EQ(
      ends[1]->TakeGather(2, all, deadline),
      FailedPrecondition(
          "rank 1 cannot take gather 2: rank 0 has started gather 13 and holds no part of it"));
}

TEST(InprocGather, ALatePartEndsTheWaitAndDoesNotBreakTheGroup) {
  ManualClock clock;
  const Deadline deadline = Deadline::After(std::chrono::milliseconds(80), clock);
  clock.Advance(std::chrono::seconds(1));
  const auto ends = MakeInprocGroup(3);
  std::vector<std::byte> all(6);
  ASSERT_TRUE(ends[0]->StartGather(4, PartOf(0, 4, 2)).ok());
  ASSERT_TRUE(ends[2]->StartGather(4, PartOf(2, 4, 2)).ok());
  EXPECT_EQ(ends[0]->TakeGather(4, all, deadline),
            DeadlineExceeded("rank 0 waited 80 ms in gather 4 for rank 1: 2 of 3 ranks came"));
  ASSERT_TRUE(ends[1]->StartGather(4, PartOf(1, 4, 2)).ok());
  ASSERT_TRUE(ends[0]->TakeGather(4, all, deadline).ok());
  EXPECT_EQ(all, AllParts(3, 4, 2));
}

TEST(InprocGather, MisuseIsRefusedByName) {
  const auto ends = MakeInprocGroup(2);
  const Deadline deadline = Deadline::After(kLong);
  std::vector<std::byte> all(6);
  ASSERT_TRUE(ends[0]->StartGather(2, PartOf(0, 2, 3)).ok());
  EXPECT_EQ(ends[0]->StartGather(2, PartOf(0, 2, 3)),
            FailedPrecondition("rank 0 starts gather 2 after gather 2: ids must rise"));
  ASSERT_TRUE(ends[1]->StartGather(2, PartOf(1, 2, 4)).ok());
  EXPECT_EQ(ends[0]->TakeGather(2, all, deadline),
            Internal("gather 2: the part of rank 0 has 3 bytes, that of rank 1 has 4"));
  all.resize(5);
  EXPECT_EQ(ends[0]->TakeGather(2, all, deadline),
            InvalidArgument("rank 0 takes gather 2 of 2 parts of 3 bytes into 5 bytes"));
}

}  // namespace
}  // namespace steelyard
