#include "comm/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "comm/test_ranks.h"
#include "comm/test_slices.h"

namespace steelyard {
namespace {

using Kind = SliceFault::Kind;
using testing::HasSubstr;

constexpr std::chrono::seconds kLong(60);
constexpr size_t kBundleBytes = 64;

// Two ranks; what goes wrong goes wrong at rank 0.
std::vector<std::unique_ptr<FaultyCommunicator>> MakeFaultyPair(const FaultPlan& plan) {
  return AddFaults(MakeInprocGroup(2), {plan, FaultPlan{}});
}

FaultPlan OneSliceFault(const SliceFault& fault) {
  FaultPlan plan;
  plan.slices.push_back(fault);
  return plan;
}

const std::vector<std::byte> kBundle(kBundleBytes, std::byte{0x41});

Status SendBundle(FaultyCommunicator& comm, uint64_t cycle, int32_t expert) {
  return comm.weights().Send(1, MakeSlice(cycle, expert, 0, kBundleBytes), kBundle);
}

Status ExchangeNothing(Communicator& comm, const Deadline& deadline) {
  std::vector<size_t> send_bytes(static_cast<size_t>(comm.num_ranks()), 0);
  std::vector<size_t> recv_bytes = send_bytes;
  return comm.Exchange({{}, send_bytes, {}, recv_bytes}, deadline);
}

TEST(Fault, ALostSliceNeverArrivesAndTheOthersDo) {
  SliceFault fault;
  fault.kind = Kind::kLose;
  fault.every = 2;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  for (int32_t expert = 0; expert < 4; ++expert) {
    ASSERT_TRUE(SendBundle(*ends[0], 1, expert).ok());
  }
  CycleSink sink(1, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), 2 * kBundleBytes);
  ASSERT_EQ(sink.landed.size(), 2u);
  EXPECT_EQ(sink.landed[0].expert, 0);
  EXPECT_EQ(sink.landed[1].expert, 2);
  EXPECT_EQ(ends[0]->num_injected(Kind::kLose), 2);
}

TEST(Fault, AFaultMeetsTheSlicesThatItNamesAndNoMoreThanItSays) {
  SliceFault fault;
  fault.kind = Kind::kLose;
  fault.cycle = 2;
  fault.expert = 5;
  fault.at_most = 1;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  ASSERT_TRUE(SendBundle(*ends[0], 1, 5).ok());
  ASSERT_TRUE(SendBundle(*ends[0], 2, 4).ok());
  ASSERT_TRUE(SendBundle(*ends[0], 2, 5).ok());
  ASSERT_TRUE(SendBundle(*ends[0], 2, 5).ok());
  CycleSink sink(2, kBundleBytes);
  ASSERT_TRUE(ends[1]->weights().Poll(sink, 1 << 20).ok());
  EXPECT_EQ(sink.asked.size(), 3u);
  EXPECT_EQ(ends[0]->num_injected(Kind::kLose), 1);
}

TEST(Fault, ACorruptSliceDiffersInOneByteAndItsSourceStays) {
  SliceFault fault;
  fault.kind = Kind::kCorrupt;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  ASSERT_TRUE(SendBundle(*ends[0], 1, 0).ok());
  CycleSink sink(1, kBundleBytes);
  ASSERT_TRUE(ends[1]->weights().Poll(sink, 1 << 20).ok());
  int num_different = 0;
  for (size_t i = 0; i < kBundleBytes; ++i) num_different += sink.bundles[0][i] != kBundle[i];
  EXPECT_EQ(num_different, 1);
  EXPECT_THAT(kBundle, testing::Each(std::byte{0x41}));
}

TEST(Fault, ATruncatedSliceIsHalfAsLongAndSaysSo) {
  SliceFault fault;
  fault.kind = Kind::kTruncate;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  ASSERT_TRUE(SendBundle(*ends[0], 1, 0).ok());
  CycleSink sink(1, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), kBundleBytes / 2);
  ASSERT_EQ(sink.landed.size(), 1u);
  EXPECT_EQ(sink.landed[0].slice_bytes, kBundleBytes / 2);
  EXPECT_EQ(sink.landed[0].bundle_bytes, kBundleBytes);
}

TEST(Fault, ADuplicateArrivesTwice) {
  SliceFault fault;
  fault.kind = Kind::kDuplicate;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  ASSERT_TRUE(SendBundle(*ends[0], 1, 0).ok());
  CycleSink sink(1, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), 2 * kBundleBytes);
  EXPECT_EQ(sink.landed.size(), 2u);
}

TEST(Fault, ADelayedSliceArrivesAtTheReceiversNthPoll) {
  SliceFault fault;
  fault.kind = Kind::kDelay;
  fault.expert = 0;
  fault.delay_polls = 3;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  ASSERT_TRUE(SendBundle(*ends[0], 1, 0).ok());
  ASSERT_TRUE(SendBundle(*ends[0], 1, 1).ok());
  CycleSink sink(1, kBundleBytes);
  WeightChannel& weights = ends[1]->weights();
  EXPECT_EQ(weights.Poll(sink, 1 << 20).value(), kBundleBytes);  // expert 1 overtakes
  EXPECT_EQ(weights.Poll(sink, 1 << 20).value(), 0u);
  EXPECT_EQ(ends[1]->num_held_slices(), 1u);
  EXPECT_EQ(weights.Poll(sink, 1 << 20).value(), kBundleBytes);
  EXPECT_EQ(ends[1]->num_held_slices(), 0u);
  EXPECT_EQ(sink.bundles[0], kBundle);
}

TEST(Fault, AHeldSliceKeepsItsFirstBytesAndArrivesAfterItsCycleWasCancelled) {
  SliceFault fault;
  fault.kind = Kind::kDelay;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  std::vector<std::byte> bundle(kBundleBytes, std::byte{1});
  ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(1, 0, 0, kBundleBytes), bundle).ok());
  ends[0]->weights().Cancel(1);
  ends[1]->weights().Cancel(1);
  EXPECT_TRUE(ends[0]->weights().Quiet(1)) << "the sender's memory is free";
  bundle.assign(kBundleBytes, std::byte{2});
  CycleSink sink(1, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), 0u);
  ends[0]->ReleaseHeldSlices();
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), kBundleBytes);
  EXPECT_EQ(sink.bundles[0], std::vector<std::byte>(kBundleBytes, std::byte{1}));
}

TEST(Fault, ReleasedSlicesKeepTheBudget) {
  SliceFault fault;
  fault.kind = Kind::kDelay;
  fault.at_most = 2;
  const auto ends = MakeFaultyPair(OneSliceFault(fault));
  for (int32_t expert = 0; expert < 3; ++expert) {
    ASSERT_TRUE(SendBundle(*ends[0], 1, expert).ok());
  }
  ends[0]->ReleaseHeldSlices();
  CycleSink sink(1, kBundleBytes);
  for (int32_t expert = 0; expert < 3; ++expert) {
    EXPECT_EQ(ends[1]->weights().Poll(sink, kBundleBytes).value(), kBundleBytes);
    EXPECT_EQ(sink.landed.back().expert, expert);
  }
}

TEST(Fault, ALostVoteEndsEveryRankAtTheDeadline) {
  FaultPlan plan;
  plan.lose_votes = IdRange::From(3);
  ManualClock clock;
  const Deadline deadline = Deadline::After(std::chrono::milliseconds(5), clock);
  const auto ends = MakeFaultyPair(plan);
  const auto statuses = RunRanks(ends, [&](Communicator& comm) -> Status {
    STEELYARD_RETURN_IF_ERROR(comm.StartVote(2, {}));
    STEELYARD_RETURN_IF_ERROR(comm.WaitVote(2, Deadline::After(kLong)).status());
    STEELYARD_RETURN_IF_ERROR(comm.StartVote(3, {}));
    const Result<bool> came = comm.TestVote(3);  // on rank 0 the group may be broken by now
    STEELYARD_RETURN_IF_ERROR(came.status());
    EXPECT_FALSE(*came);
    if (comm.rank() == 0) return comm.WaitVote(3, Deadline::After(kLong)).status();
    clock.Advance(std::chrono::seconds(1));
    return comm.WaitVote(3, deadline).status();
  });
  EXPECT_EQ(statuses[1],
            DeadlineExceeded("rank 1 waited 5 ms in vote 3 for rank 0: 1 of 2 ranks came"));
  EXPECT_THAT(statuses[0].message(),
              HasSubstr("the group is broken: rank 1 waited 5 ms in vote 3"));
}

TEST(Fault, ALostMessageEndsTheRankThatLostItToo) {
  FaultPlan plan;
  plan.lose_votes = plan.lose_gathers = IdRange::From(0);
  plan.miss_exchanges = IdRange::From(0);
  ManualClock clock;
  const Deadline passed = Deadline::After(std::chrono::milliseconds(5), clock);
  clock.Advance(std::chrono::seconds(1));
  const auto ends = MakeFaultyPair(plan);
  EXPECT_EQ(ExchangeNothing(*ends[0], passed),
            DeadlineExceeded("rank 0 waited in token exchange 0, which a fault plan lost"));
  ASSERT_TRUE(ends[0]->StartVote(1, {}).ok());
  EXPECT_EQ(ends[0]->WaitVote(1, passed).status(),
            DeadlineExceeded("rank 0 waited in vote 1, which a fault plan lost"));
  ASSERT_TRUE(ends[0]->StartGather(1, {}).ok());
  EXPECT_EQ(ends[0]->TakeGather(1, {}, passed),
            DeadlineExceeded("rank 0 waited in gather 1, which a fault plan lost"));
}

TEST(Fault, ALostGatherPartLeavesTheGroupWhole) {
  FaultPlan plan;
  plan.lose_gathers = IdRange::Only(1);
  ManualClock clock;
  const Deadline passed = Deadline::After(std::chrono::milliseconds(5), clock);
  clock.Advance(std::chrono::seconds(1));
  const auto ends = MakeFaultyPair(plan);
  const std::vector<std::byte> mine(1);
  std::vector<std::byte> all(2);
  for (const auto& end : ends) ASSERT_TRUE(end->StartGather(1, mine).ok());
  for (const auto& end : ends) EXPECT_FALSE(end->TestGather(1).value());
  EXPECT_EQ(ends[1]->TakeGather(1, all, passed),
            DeadlineExceeded("rank 1 waited 5 ms in gather 1 for rank 0: 1 of 2 ranks came"));
  for (const auto& end : ends) ASSERT_TRUE(end->StartGather(2, mine).ok());
  for (const auto& end : ends) EXPECT_TRUE(end->TakeGather(2, all, passed).ok());
}

TEST(Fault, AMissedExchangeIsALostPeer) {
  FaultPlan plan;
  plan.miss_exchanges = IdRange::From(2);
  ManualClock clock;
  const Deadline deadline = Deadline::After(std::chrono::milliseconds(5), clock);
  const auto ends = MakeFaultyPair(plan);
  const auto statuses = RunRanks(ends, [&](Communicator& comm) -> Status {
    for (int i = 0; i < 2; ++i) {
      STEELYARD_RETURN_IF_ERROR(ExchangeNothing(comm, Deadline::After(kLong)));
    }
    if (comm.rank() == 0) return ExchangeNothing(comm, Deadline::After(kLong));
    clock.Advance(std::chrono::seconds(1));
    return ExchangeNothing(comm, deadline);
  });
  EXPECT_EQ(
      statuses[1],
      DeadlineExceeded("rank 1 waited 5 ms in token exchange 2 for rank 0: 1 of 2 ranks came"));
  EXPECT_EQ(statuses[0].code(), StatusCode::kUnavailable);
}

TEST(Fault, DelayedVotesAndPartsComeWithALaterExchangeInOrder) {
  FaultPlan plan;
  plan.delay_votes = plan.delay_gathers = IdRange::Only(1);
  plan.delay_exchanges = 2;
  const auto ends = MakeFaultyPair(plan);
  const std::vector<std::byte> mine(1);
  for (const auto& end : ends) {
    for (const uint64_t id : {1u, 2u}) {
      ASSERT_TRUE(end->StartVote(id, {}).ok());
      ASSERT_TRUE(end->StartGather(id, mine).ok());
    }
  }
  std::vector<bool> was_there;
  const auto statuses = RunRanks(ends, [&](Communicator& comm) -> Status {
    for (int i = 0; i < 3; ++i) {
      if (comm.rank() == 1) {
        for (const uint64_t id : {1u, 2u}) {
          was_there.push_back(comm.TestVote(id).value());
          was_there.push_back(comm.TestGather(id).value());
        }
      }
      STEELYARD_RETURN_IF_ERROR(ExchangeNothing(comm, Deadline::After(kLong)));
    }
    return Status::Ok();
  });
  EXPECT_EQ(statuses, (std::vector<Status>(2)));
  // Rank 0 began its second exchange after rank 1 looked first, and before it looked last.
  const std::vector<bool> first(was_there.begin(), was_there.begin() + 4);
  const std::vector<bool> last(was_there.end() - 4, was_there.end());
  EXPECT_EQ(first, std::vector<bool>(4, false));
  EXPECT_EQ(last, std::vector<bool>(4, true));
}

TEST(Fault, ADelayedVoteArrivesWhenItsOwnRankWaitsForIt) {
  FaultPlan plan;
  plan.delay_votes = IdRange::Only(1);
  plan.delay_exchanges = 100;
  const auto ends = MakeFaultyPair(plan);
  ASSERT_TRUE(ends[1]->StartVote(1, {3}).ok());
  ASSERT_TRUE(ends[0]->StartVote(1, {4}).ok());
  EXPECT_FALSE(ends[0]->TestVote(1).value());
  EXPECT_FALSE(ends[1]->TestVote(1).value());
  EXPECT_EQ(ends[0]->WaitVote(1, Deadline::After(kLong)).value()[0], 3);
  EXPECT_TRUE(ends[1]->TestVote(1).value());
}

TEST(Fault, ASlowRankIsAsSlowAsItsHook) {
  FaultPlan plan;
  std::vector<uint64_t> calls;
  plan.before_exchange = [&](uint64_t exchange_idx) { calls.push_back(exchange_idx); };
  const auto ends = MakeFaultyPair(plan);
  const auto statuses = RunRanks(ends, [](Communicator& comm) -> Status {
    STEELYARD_RETURN_IF_ERROR(ExchangeNothing(comm, Deadline::After(kLong)));
    return ExchangeNothing(comm, Deadline::After(kLong));
  });
  EXPECT_EQ(statuses, (std::vector<Status>(2)));
  EXPECT_EQ(calls, (std::vector<uint64_t>{0, 1}));
}

}  // namespace
}  // namespace steelyard
