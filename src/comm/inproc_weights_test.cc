#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <vector>

#include "base/test_scale.h"
#include "comm/test_ranks.h"
#include "comm/test_slices.h"

namespace steelyard {
namespace {

using testing::Each;

constexpr size_t kBundleBytes = 1024;

std::vector<std::byte> BundleOf(int rank, int32_t expert) {
  std::vector<std::byte> bundle(kBundleBytes);
  for (size_t i = 0; i < bundle.size(); ++i) {
    bundle[i] = static_cast<std::byte>(41 * rank + 5 * expert + static_cast<int>(i / 3));
  }
  return bundle;
}

TEST(InprocWeights, ASliceIsCopiedToItsPlaceAndThenAnnounced) {
  const auto ends = MakeInprocGroup(2);
  const std::vector<std::byte> bundle = BundleOf(0, 3);
  ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(1, 3, 0, 1024), bundle).ok());
  CycleSink sink(1, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), 1024u);
  EXPECT_EQ(sink.bundles[3], bundle);
  EXPECT_EQ(sink.landed.size(), 1u);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1 << 20).value(), 0u);
}

TEST(InprocWeights, TheBudgetIsKeptButOneSliceAlwaysComes) {
  const auto ends = MakeInprocGroup(2);
  const std::vector<std::byte> bundle = BundleOf(0, 0);
  for (uint64_t i = 0; i < 4; ++i) {
    const auto bytes = std::span(bundle).subspan(i * 256, 256);
    ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(1, 0, i * 256, 256), bytes).ok());
  }
  CycleSink sink(1, kBundleBytes);
  WeightChannel& weights = ends[1]->weights();
  EXPECT_EQ(weights.Poll(sink, 0).value(), 256u);
  EXPECT_EQ(weights.Poll(sink, 600).value(), 512u);
  EXPECT_EQ(weights.Poll(sink, 255).value(), 256u);
  EXPECT_EQ(weights.Poll(sink, 255).value(), 0u);
  EXPECT_EQ(sink.bundles[0], bundle);
}

TEST(InprocWeights, ASliceWithoutAPlaceIsDroppedAndCostsNoBudget) {
  const auto ends = MakeInprocGroup(2);
  const std::vector<std::byte> bundle = BundleOf(0, 0);
  ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(8, 0, 0, 1024), bundle).ok());
  ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(9, 0, 0, 1024), bundle).ok());
  CycleSink sink(9, kBundleBytes);
  EXPECT_EQ(ends[1]->weights().Poll(sink, 1).value(), 1024u);
  EXPECT_EQ(sink.asked.size(), 2u);
  EXPECT_EQ(sink.landed.size(), 1u);
}

TEST(InprocWeights, CancelTakesBackBothWhatWasOfferedAndWhatIsComing) {
  const auto ends = MakeInprocGroup(3);
  const std::vector<std::byte> bundle = BundleOf(0, 0);
  for (const uint64_t cycle : {1u, 2u}) {
    for (const int dst_rank : {1, 2}) {
      ASSERT_TRUE(ends[0]->weights().Send(dst_rank, MakeSlice(cycle, 0, 0, 1024), bundle).ok());
    }
  }
  EXPECT_FALSE(ends[0]->weights().Quiet(1));
  ends[2]->weights().Cancel(1);  // as a receiver
  EXPECT_FALSE(ends[0]->weights().Quiet(1)) << "rank 1 may still read";
  ends[0]->weights().Cancel(1);
  EXPECT_TRUE(ends[0]->weights().Quiet(1));
  EXPECT_FALSE(ends[0]->weights().Quiet(2));
  for (const int rank : {1, 2}) {
    CycleSink sink(2, kBundleBytes);
    EXPECT_EQ(ends[rank]->weights().Poll(sink, 1 << 20).value(), 1024u);
    ASSERT_EQ(sink.asked.size(), 1u);
    EXPECT_EQ(sink.asked[0].cycle, 2u);
  }
  EXPECT_TRUE(ends[0]->weights().Quiet(2));
}

// Looks at the sender's end while a slice of it is being taken in, before and after the copy.
class WatchingSink : public CycleSink {
 public:
  WatchingSink(WeightChannel& sender, uint64_t cycle) : CycleSink(cycle, 1024), sender_(sender) {}
  std::span<std::byte> Destination(const SliceHeader& header) override {
    sender_.Cancel(header.cycle);
    was_quiet_during_copy = sender_.Quiet(header.cycle);
    return CycleSink::Destination(header);
  }
  void Landed(const SliceHeader& header) override {
    was_quiet_after_copy = sender_.Quiet(header.cycle);
  }
  bool was_quiet_during_copy = true;
  bool was_quiet_after_copy = false;

 private:
  WeightChannel& sender_;
};

TEST(InprocWeights, ASliceThatIsBeingCopiedKeepsItsSenderFromQuiet) {
  const auto ends = MakeInprocGroup(2);
  const std::vector<std::byte> bundle = BundleOf(0, 0);
  ASSERT_TRUE(ends[0]->weights().Send(1, MakeSlice(1, 0, 0, 1024), bundle).ok());
  WatchingSink sink(ends[0]->weights(), 1);
  ASSERT_TRUE(ends[1]->weights().Poll(sink, 1).ok());
  EXPECT_FALSE(sink.was_quiet_during_copy);
  EXPECT_TRUE(sink.was_quiet_after_copy);
}

TEST(InprocWeights, WrongSlicesAreRefusedByName) {
  const auto ends = MakeInprocGroup(2);
  WeightChannel& weights = ends[0]->weights();
  const std::vector<std::byte> bundle = BundleOf(0, 0);
  EXPECT_EQ(weights.Send(2, MakeSlice(1, 7, 0, 1024), bundle),
            InvalidArgument("rank 0 offers a slice of cycle 1 layer 0 round 0 expert 7 at byte 0 "
                            "to rank 2 of 2 ranks"));
  EXPECT_EQ(weights.Send(1, MakeSlice(1, 7, 512, 100), bundle),
            InvalidArgument("rank 0 offers a slice of cycle 1 layer 0 round 0 expert 7 at byte 512 "
                            "that says 100 bytes and has 1024"));
  EXPECT_FALSE(weights.Send(1, MakeSlice(1, 7, 0, 0), {}).ok());

  class ShortSink : public CycleSink {
   public:
    using CycleSink::CycleSink;
    std::span<std::byte> Destination(const SliceHeader& header) override {
      return CycleSink::Destination(header).first(10);
    }
  };
  ASSERT_TRUE(weights.Send(1, MakeSlice(1, 7, 0, 1024), bundle).ok());
  ShortSink sink(1, kBundleBytes);
  EXPECT_EQ(
      ends[1]->weights().Poll(sink, 1).status(),
      Internal("rank 1 has 10 bytes of room for the slice of cycle 1 layer 0 round 0 expert 7 "
               "at byte 0, which has 1024"));
  EXPECT_TRUE(weights.Quiet(1));
}

// Every rank sends whole bundles in random slices to every other while it takes in theirs under
// random budgets: all bytes come once, in order per sender.
TEST(InprocWeights, EveryByteArrivesOnceAndInOrderPerSender) {
  for (int seed = 0; seed < Scaled(10); ++seed) {
    const int num_ranks = 2 + seed % 4;
    const auto statuses = RunRanks(num_ranks, [&](Communicator& comm) -> Status {
      std::minstd_rand random(static_cast<unsigned>(seed * 100 + comm.rank() + 1));
      const std::vector<std::byte> bundle = BundleOf(comm.rank(), 0);
      std::vector<uint64_t> sent_bytes(num_ranks, 0);
      sent_bytes[comm.rank()] = kBundleBytes;
      CycleSink sink(1, kBundleBytes);
      size_t num_received = 0;
      const size_t num_expected = static_cast<size_t>(num_ranks - 1) * kBundleBytes;
      uint64_t num_sent = kBundleBytes;
      while (num_received < num_expected || num_sent < num_expected + kBundleBytes) {
        const int dst_rank = static_cast<int>(random() % num_ranks);
        const uint64_t left_bytes = kBundleBytes - sent_bytes[dst_rank];
        if (left_bytes > 0) {
          const uint64_t slice_bytes = std::min<uint64_t>(left_bytes, 1 + random() % 200);
          const uint64_t offset = sent_bytes[dst_rank];
          STEELYARD_RETURN_IF_ERROR(
              comm.weights().Send(dst_rank, MakeSlice(1, comm.rank(), offset, slice_bytes),
                                  std::span(bundle).subspan(offset, slice_bytes)));
          sent_bytes[dst_rank] += slice_bytes;
          num_sent += slice_bytes;
        }
        STEELYARD_ASSIGN_OR_RETURN(const size_t num_copied,
                                   comm.weights().Poll(sink, random() % 400));
        num_received += num_copied;
        if (num_copied == 0) std::this_thread::yield();
      }
      std::map<int32_t, uint64_t> next_offset;
      for (const SliceHeader& header : sink.landed) {
        EXPECT_EQ(header.offset_bytes, next_offset[header.expert]) << "seed " << seed;
        next_offset[header.expert] += header.slice_bytes;
      }
      EXPECT_EQ(num_received, num_expected) << "seed " << seed;
      for (const auto& [sender, received] : sink.bundles) {
        EXPECT_EQ(received, BundleOf(sender, 0)) << "seed " << seed << " from " << sender;
      }
      while (!comm.weights().Quiet(1)) std::this_thread::yield();
      return Status::Ok();
    });
    ASSERT_THAT(statuses, Each(Status::Ok())) << "seed " << seed;
  }
}

// Takes in slices of any cycle, each filled with its cycle's number.
class AnyCycleSink : public SliceSink {
 public:
  std::span<std::byte> Destination(const SliceHeader&) override { return bytes_; }
  void Landed(const SliceHeader& header) override {
    ++num_landed;
    EXPECT_THAT(bytes_, Each(static_cast<std::byte>(header.cycle))) << "cycle " << header.cycle;
  }
  int num_landed = 0;

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(1024);
};

// Whoever cancels and waits for quiet may overwrite its bytes at once: the receiver, at work on
// another core, must not see it.
TEST(InprocWeights, BytesMayChangeOnceACancelledCycleIsQuiet) {
  const int num_cycles = Scaled(500);
  const auto ends = MakeInprocGroup(2);
  std::atomic<bool> is_done{false};
  std::atomic<int> num_landed{0};
  const auto statuses = RunRanks(ends, [&](Communicator& comm) -> Status {
    if (comm.rank() == 1) {
      AnyCycleSink sink;
      while (!is_done) {
        STEELYARD_RETURN_IF_ERROR(comm.weights().Poll(sink, 1).status());
        num_landed = sink.num_landed;
        std::this_thread::yield();
      }
      return Status::Ok();
    }
    std::vector<std::byte> bundle(1024);
    for (int cycle = 0; cycle < num_cycles; ++cycle) {
      std::fill(bundle.begin(), bundle.end(), static_cast<std::byte>(cycle));
      const uint64_t id = static_cast<uint64_t>(cycle);
      const int num_landed_before = num_landed;
      for (int expert = 0; expert < 4; ++expert) {
        STEELYARD_RETURN_IF_ERROR(comm.weights().Send(1, MakeSlice(id, expert, 0, 1024), bundle));
      }
      // Two cycles in three are cancelled while the receiver is at work on them.
      while (cycle % 3 != 0 && num_landed == num_landed_before) std::this_thread::yield();
      comm.weights().Cancel(id);
      while (!comm.weights().Quiet(id)) std::this_thread::yield();
    }
    is_done = true;
    return Status::Ok();
  });
  EXPECT_THAT(statuses, Each(Status::Ok()));
  EXPECT_GE(num_landed, num_cycles / 2);
}

}  // namespace
}  // namespace steelyard
