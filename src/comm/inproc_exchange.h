// The token exchange of an in-process group: one barrier, then every rank copies its blocks
// straight from the senders' memory.
//
// Why one barrier is enough. Exchange n of a rank is: publish(n), wait until all have published n,
// copy(n). A rank that publishes n+1 has therefore ended copy(n), and a rank that saw all publish
// n+1 knows that of everybody. So
//   - `send` of exchange n may change once Exchange n+1 has returned: all copies(n) came before
//     the publish(n+1) that it waited for;
//   - a rank's publication n+2 may overwrite its publication n: before it starts, it has returned
//     from exchange n+1. Two records in turn are enough; with one, a fast rank would overwrite n
//     while a slow one still copies it.
// Each "came before" above passes from a rank to the last that arrives through `num_arrived_`, and
// from there to everybody through `num_complete_`.
//
// Ranks sleep each on a condition of its own: with one mutex for all, those that wake up wait for
// each other, and all of them for one that loses its core while it holds it.
//
// Failure has no next exchange to wait for. Before a failed Exchange() returns, the group is broken
// and WaitForCopies() has seen that nobody copies: a rank says that it copies (`copies_begun`)
// before it looks at the break flag, and the failing rank looks in the opposite order, all
// sequentially consistent, so one of the two sees the other.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "comm/inproc_wait.h"
#include "steelyard/comm/communicator.h"

namespace steelyard::inproc {

class TokenExchange {
 public:
  TokenExchange(int num_ranks, const BreakFlag& broken);

  /// Communicator::Exchange() of `rank`. On failure the caller breaks the group and then calls
  /// WaitForCopies().
  Status Run(int rank, const ExchangeBuffers& buffers, const Deadline& deadline);

  /// Lets waiters look again at what they wait for and at the break flag.
  void Wake();

  /// Returns when nobody reads what `rank` sent any more: at once in most cases, else after the
  /// copies under way.
  void WaitForCopies(int rank) const;

 private:
  struct Publication {
    const std::byte* send = nullptr;
    std::vector<size_t> offsets;  // [num_ranks + 1] of the blocks in `send`
  };
  struct alignas(64) RankState {
    std::array<Publication, 2> publications;  // of exchange n at n % 2
    std::atomic<uint64_t> num_published{0};   // exchanges, written by the rank alone
    std::mutex mutex;                         // held by the waiting rank, and to wake it
    std::condition_variable changed;
    std::atomic<uint64_t> copies_begun{0};
    std::atomic<uint64_t> copies_ended{0};
  };

  Status Publish(int rank, const ExchangeBuffers& buffers);
  Status WaitForAll(int rank, uint64_t exchange_idx, const Deadline& deadline);
  Status LateFor(int rank, uint64_t exchange_idx, const Deadline& deadline) const;
  Status CheckSizes(int rank, uint64_t exchange_idx, const ExchangeBuffers& buffers) const;
  Status Copy(int rank, uint64_t exchange_idx, const ExchangeBuffers& buffers);

  const int num_ranks_;
  const BreakFlag& broken_;
  std::vector<RankState> ranks_;           // [num_ranks]
  std::atomic<int> num_arrived_{0};        // at the exchange that is not complete
  std::atomic<uint64_t> num_complete_{0};  // exchanges
};

}  // namespace steelyard::inproc
