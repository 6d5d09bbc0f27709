#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <vector>

#include "base/test_scale.h"
#include "comm/test_clock.h"
#include "comm/test_ranks.h"

namespace steelyard {
namespace {

using std::chrono::milliseconds;
using testing::Each;
using testing::HasSubstr;

constexpr std::chrono::seconds kLong(60);

// The buffers of one rank for one exchange.
struct Buffers {
  explicit Buffers(int num_ranks, size_t capacity = 0)
      : send_bytes(num_ranks), recv(capacity), recv_bytes(num_ranks) {}
  ExchangeBuffers View() { return {send, send_bytes, recv, recv_bytes}; }

  std::vector<std::byte> send;
  std::vector<size_t> send_bytes;
  std::vector<std::byte> recv;
  std::vector<size_t> recv_bytes;
};

// Byte i of the block from `sender` to `receiver` in round `round`.
std::byte Payload(int sender, int receiver, size_t i, int round) {
  return static_cast<std::byte>(31 * sender + 7 * receiver + 3 * static_cast<int>(i % 251) + round);
}

// Both ends of a block know its size without talking: zero in a third of the cases.
size_t BlockBytes(int sender, int receiver, int round, int seed) {
  std::minstd_rand random(
      static_cast<unsigned>(((seed * 64 + sender) * 64 + receiver) * 997 + round));
  random.discard(3);
  return random() % 3 == 0 ? 0 : random() % 700;
}

void FillSend(int rank, int round, int seed, Buffers& buffers) {
  buffers.send.clear();
  for (int receiver = 0; receiver < static_cast<int>(buffers.send_bytes.size()); ++receiver) {
    buffers.send_bytes[receiver] = BlockBytes(rank, receiver, round, seed);
    for (size_t i = 0; i < buffers.send_bytes[receiver]; ++i) {
      buffers.send.push_back(Payload(rank, receiver, i, round));
    }
  }
}

void ExpectReceived(int rank, int round, int seed, const Buffers& buffers) {
  size_t at = 0;
  for (int sender = 0; sender < static_cast<int>(buffers.recv_bytes.size()); ++sender) {
    ASSERT_EQ(buffers.recv_bytes[sender], BlockBytes(sender, rank, round, seed))
        << "seed " << seed << " round " << round << " rank " << rank << " from " << sender;
    for (size_t i = 0; i < buffers.recv_bytes[sender]; ++i, ++at) {
      ASSERT_EQ(buffers.recv[at], Payload(sender, rank, i, round))
          << "seed " << seed << " round " << round << " rank " << rank << " from " << sender
          << " byte " << i;
    }
  }
}

Status ExchangeNothing(Communicator& comm, const Deadline& deadline) {
  Buffers nothing(comm.num_ranks());
  return comm.Exchange(nothing.View(), deadline);
}

TEST(InprocExchange, EveryRankReceivesItsBlocksInRankOrder) {
  const auto statuses = RunRanks(2, [](Communicator& comm) {
    Buffers buffers(2, 8);
    // Rank 0 sends "a" to itself and "bc" to rank 1; rank 1 sends "def" to rank 0 and nothing to
    // itself.
    const bool is_first = comm.rank() == 0;
    for (const char c : std::string(is_first ? "abc" : "def")) {
      buffers.send.push_back(static_cast<std::byte>(c));
    }
    buffers.send_bytes = is_first ? std::vector<size_t>{1, 2} : std::vector<size_t>{3, 0};
    STEELYARD_RETURN_IF_ERROR(comm.Exchange(buffers.View(), Deadline::After(kLong)));
    const std::string received(reinterpret_cast<const char*>(buffers.recv.data()),
                               buffers.recv_bytes[0] + buffers.recv_bytes[1]);
    EXPECT_EQ(received, is_first ? "adef" : "bc");
    EXPECT_EQ(buffers.recv_bytes,
              (is_first ? std::vector<size_t>{1, 3} : std::vector<size_t>{2, 0}));
    return ExchangeNothing(comm, Deadline::After(kLong));
  });
  EXPECT_THAT(statuses, Each(Status::Ok()));
}

TEST(InprocExchange, RandomBlocksArriveWholeOverManyRounds) {
  for (const int num_ranks : {1, 2, 3, 4, 8}) {
    for (int seed = 0; seed < Scaled(4); ++seed) {
      const auto statuses = RunRanks(num_ranks, [seed](Communicator& comm) {
        // Two buffers in turn, as the contract allows: one is refilled when the exchange after its
        // own has returned.
        std::vector<Buffers> buffers(2, Buffers(comm.num_ranks(), 8 * 700));
        for (int round = 0; round < 100; ++round) {
          Buffers& mine = buffers[round % 2];
          FillSend(comm.rank(), round, seed, mine);
          STEELYARD_RETURN_IF_ERROR(comm.Exchange(mine.View(), Deadline::After(kLong)));
          ExpectReceived(comm.rank(), round, seed, mine);
        }
        return ExchangeNothing(comm, Deadline::After(kLong));
      });
      ASSERT_THAT(statuses, Each(Status::Ok())) << num_ranks << " ranks, seed " << seed;
    }
  }
}

TEST(InprocExchange, SilentPeerFailsAtTheDeadline) {
  WaitersClock clock;
  const Deadline deadline = Deadline::After(milliseconds(500), clock);
  clock.Arm(3);
  const auto statuses = RunRanks(4, [&](Communicator& comm) {
    return comm.rank() == 2 ? Status::Ok() : ExchangeNothing(comm, deadline);
  });
  int num_late = 0;
  for (const int rank : {0, 1, 3}) {
    const Status& status = statuses[rank];
    if (status.code() == StatusCode::kDeadlineExceeded) {
      ++num_late;
      EXPECT_EQ(status.message(),
                "rank " + std::to_string(rank) +
                    " waited 500 ms in token exchange 0 for rank 2: 3 of 4 ranks came");
    } else {
      EXPECT_EQ(status.code(), StatusCode::kUnavailable);
      EXPECT_THAT(status.message(), HasSubstr("the group is broken: rank "));
      EXPECT_THAT(status.message(), HasSubstr("for rank 2: 3 of 4 ranks came"));
    }
  }
  EXPECT_GE(num_late, 1);
}

TEST(InprocExchange, AManualClockEndsAWaitWithoutSleeping) {
  ManualClock clock;
  const Deadline deadline = Deadline::After(std::chrono::hours(1), clock);
  const auto statuses = RunRanks(2, [&](Communicator& comm) {
    if (comm.rank() == 0) return ExchangeNothing(comm, deadline);
    clock.Advance(std::chrono::hours(2));
    return Status::Ok();
  });
  EXPECT_EQ(statuses[0].message(),
            "rank 0 waited 3.6e+06 ms in token exchange 0 for rank 1: 1 of 2 ranks came");
}

TEST(InprocExchange, OneLateRankBreaksTheGroupForThoseWhoWouldWaitLonger) {
  ManualClock clock;
  const Deadline soon = Deadline::After(milliseconds(1), clock);
  clock.Advance(milliseconds(2));
  const auto statuses = RunRanks(3, [&](Communicator& comm) {
    if (comm.rank() == 0) return Status::Ok();
    return ExchangeNothing(comm, comm.rank() == 1 ? soon : Deadline::After(kLong));
  });
  EXPECT_EQ(statuses[1].code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(statuses[2].code(), StatusCode::kUnavailable);
  EXPECT_THAT(statuses[2].message(), HasSubstr("the group is broken: rank 1 waited 1 ms"));
}

TEST(InprocExchange, SizesThatContradictEachOtherAreRefused) {
  struct Row {
    const char* what;
    std::vector<size_t> send_bytes;
    size_t num_sent;
    size_t room;
    const char* message;
  };
  const Row rows[] = {
      {"sum",
       {2, 3},
       4,
       64,
       "rank 1 in token exchange 0: the blocks to send sum to 5 bytes, `send` holds 4"},
      {"ranks",
       {4},
       4,
       64,
       "rank 1 in token exchange 0: sizes of 1 blocks to send and 2 to receive, for 2 ranks"},
      {"room", {4, 4}, 8, 7, "rank 1 in token exchange 0: 8 bytes come in, `recv` holds 7"},
  };
  for (const Row& row : rows) {
    const auto statuses = RunRanks(2, [&](Communicator& comm) {
      Buffers buffers(2, comm.rank() == 1 ? row.room : 64);
      buffers.send.resize(8);
      buffers.send_bytes = {4, 4};
      if (comm.rank() == 1) {
        buffers.send.resize(row.num_sent);
        buffers.send_bytes = row.send_bytes;
      }
      const Status status = comm.Exchange(buffers.View(), Deadline::After(kLong));
      return status.ok() ? ExchangeNothing(comm, Deadline::After(kLong)) : status;
    });
    EXPECT_EQ(statuses[1], Internal(row.message)) << row.what;
    EXPECT_EQ(statuses[0], Unavailable(std::string("the group is broken: ") + row.message))
        << row.what;
  }
}

TEST(InprocExchange, AbortWakesEveryWaiter) {
  const Status reason = Cancelled("the operator pressed ctrl-c");
  const auto ends = MakeInprocGroup(4);
  std::atomic<int> num_waiting{0};
  const auto statuses = RunRanks(ends, [&](Communicator& comm) -> Status {
    const Deadline deadline = Deadline::After(kLong);
    std::vector<std::byte> all(4);
    switch (comm.rank()) {
      case 0:
        ++num_waiting;
        return ExchangeNothing(comm, deadline);
      case 1:
        STEELYARD_RETURN_IF_ERROR(comm.StartVote(1, {}));
        ++num_waiting;
        return comm.WaitVote(1, deadline).status();
      case 2:
        STEELYARD_RETURN_IF_ERROR(comm.StartGather(1, std::vector<std::byte>(1)));
        ++num_waiting;
        return comm.TakeGather(1, all, deadline);
      default:
        while (num_waiting < 3) std::this_thread::yield();
        comm.Abort(reason);
        comm.Abort(Internal("a second reason, which nobody hears"));
        return ExchangeNothing(comm, deadline);
    }
  });
  EXPECT_THAT(statuses, Each(reason));
  EXPECT_EQ(ends[0]->StartVote(5, {}), reason);
  EXPECT_EQ(ends[0]->TestVote(5).status(), reason);
  EXPECT_EQ(ends[0]->StartGather(5, {}), reason);
  EXPECT_EQ(ends[0]->TestGather(5).status(), reason);
  EXPECT_EQ(ends[0]->weights().Send(1, {}, {}), reason);
}

// A rank that ends with its last exchange must not pull its memory away under slower ranks: its end
// waits for them.
TEST(InprocExchange, AnEndOutlivesTheCopiesFromItsMemory) {
  for (int seed = 0; seed < Scaled(100); ++seed) {
    auto ends = MakeInprocGroup(3);
    const auto statuses = RunRanks(ends, [&](Communicator& comm) {
      Buffers buffers(3, 3 * 700);
      FillSend(comm.rank(), 0, seed, buffers);
      const Status status = comm.Exchange(buffers.View(), Deadline::After(kLong));
      ExpectReceived(comm.rank(), 0, seed, buffers);
      ends[comm.rank()].reset();
      std::fill(buffers.send.begin(), buffers.send.end(), std::byte{0xEE});
      return status;
    });
    ASSERT_THAT(statuses, Each(Status::Ok())) << "seed " << seed;
  }
}

}  // namespace
}  // namespace steelyard
