// Steady state allocates nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>

#include "base/count_allocations.h"
#include "comm/test_ranks.h"
#include "comm/test_slices.h"

namespace steelyard {
namespace {

class OneBufferSink : public SliceSink {
 public:
  std::span<std::byte> Destination(const SliceHeader&) override { return buffer_; }
  void Landed(const SliceHeader&) override { ++num_landed; }
  int num_landed = 0;

 private:
  std::array<std::byte, 256> buffer_{};
};

// One step of a rank that uses all that an end can do.
Status Step(Communicator& comm, uint64_t step, OneBufferSink& sink) {
  const Deadline deadline = Deadline::After(std::chrono::seconds(60));
  static const std::array<std::byte, 512> kData{};
  const std::array<size_t, 2> send_bytes = {256, 256};
  std::array<size_t, 2> recv_bytes{};
  std::array<std::byte, 512> recv{};
  STEELYARD_RETURN_IF_ERROR(comm.StartVote(step, {}));
  STEELYARD_RETURN_IF_ERROR(comm.StartGather(step, std::span(kData).first(256)));
  for (int i = 0; i < 100; ++i) {
    STEELYARD_RETURN_IF_ERROR(comm.weights().Send(1 - comm.rank(), MakeSlice(step, 0, 0, 256),
                                                  std::span(kData).first(256)));
  }
  STEELYARD_RETURN_IF_ERROR(comm.Exchange({kData, send_bytes, recv, recv_bytes}, deadline));
  STEELYARD_RETURN_IF_ERROR(comm.weights().Poll(sink, 50 * 256).status());
  STEELYARD_RETURN_IF_ERROR(comm.TestVote(step).status());
  STEELYARD_RETURN_IF_ERROR(comm.WaitVote(step, deadline).status());
  STEELYARD_RETURN_IF_ERROR(comm.TakeGather(step, recv, deadline));
  comm.weights().Cancel(step);
  // Whoever is slower still takes in slices of this step; the queues must not grow with the lead.
  return comm.Exchange({kData, send_bytes, recv, recv_bytes}, deadline);
}

TEST(InprocGroup, SteadyStateAllocatesNothing) {
  // Of both ranks: slices of the one that is ahead are cancelled before the other polls.
  std::atomic<int> num_landed{0};
  const auto statuses = RunRanks(2, [&](Communicator& comm) -> Status {
    OneBufferSink sink;
    for (uint64_t step = 1; step <= 3; ++step) {
      STEELYARD_RETURN_IF_ERROR(Step(comm, step, sink));
    }
    const int64_t num_before = NumAllocationsOfThread();
    for (uint64_t step = 4; step <= 60; ++step) {
      STEELYARD_RETURN_IF_ERROR(Step(comm, step, sink));
    }
    EXPECT_EQ(NumAllocationsOfThread(), num_before) << "rank " << comm.rank();
    EXPECT_GT(num_before, 0) << "allocations are not counted";
    num_landed += sink.num_landed;
    return Status::Ok();
  });
  EXPECT_GT(num_landed, 0);
  EXPECT_THAT(statuses, testing::Each(Status::Ok()));
}

}  // namespace
}  // namespace steelyard
