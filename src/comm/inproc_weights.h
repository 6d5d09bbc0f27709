// The weight channel of an in-process group: a queue of offers per receiver, and one copy from the
// sender's bytes to their place.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <span>
#include <vector>

#include "comm/inproc_wait.h"
#include "steelyard/comm/communicator.h"

namespace steelyard::inproc {

/// What has been offered to one receiver and not been copied. Any thread may call anything, but
/// only the receiver takes: at most one offer is being copied at a time. The queue grows to the
/// largest number of open offers and then allocates nothing.
class OfferQueue {
 public:
  struct Offer {
    int sender = -1;
    SliceHeader header;
    std::span<const std::byte> bytes;
  };
  static constexpr uint64_t kAnyCycle = std::numeric_limits<uint64_t>::max();
  static constexpr int kAnySender = -1;

  OfferQueue();

  void Push(const Offer& offer);
  /// Takes the first offer out and marks it as being copied, if there is one of at most
  /// `max_bytes`.
  bool BeginCopy(size_t max_bytes, Offer& offer);
  void EndCopy();
  /// Removes the matching offers that are not being copied.
  void Withdraw(int sender, uint64_t cycle);
  /// True when a matching offer is queued or being copied.
  bool Holds(int sender, uint64_t cycle) const;

 private:
  static bool Matches(const Offer& offer, int sender, uint64_t cycle);

  std::atomic<size_t> num_queued_{0};  // lets an idle receiver pass without the lock
  mutable std::mutex mutex_;           // guards everything below
  std::vector<Offer> offers_;          // queued from first_ on
  size_t first_ = 0;
  bool is_copying_ = false;
  Offer copying_;
};

/// One rank's end.
class OfferChannel : public WeightChannel {
 public:
  /// `queues` and `broken` must outlive it. Requires: one queue per rank.
  OfferChannel(int rank, std::vector<OfferQueue>& queues, const BreakFlag& broken);
  /// Takes back every offer, and waits out a copy under way.
  ~OfferChannel() override;

  Status Send(int dst_rank, const SliceHeader& header, std::span<const std::byte> bytes) override;
  Result<size_t> Poll(SliceSink& sink, size_t byte_budget) override;
  void Cancel(uint64_t cycle) override;
  bool Quiet(uint64_t cycle) const override;

 private:
  const int rank_;
  std::vector<OfferQueue>& queues_;  // [num_ranks] of receivers
  const BreakFlag& broken_;
};

}  // namespace steelyard::inproc
