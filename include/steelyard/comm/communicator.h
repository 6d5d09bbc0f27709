// A Communicator is one rank's end of the expert-parallel group: token exchange, gather, agreement
// and the weight channel.
//
// One thread per rank, the one that drives the step, makes every call except Abort(). Every call
// that can wait takes a Deadline, and its failure names the rank, what it waited for and from whom.
// After a failed Exchange() or WaitVote() the group is broken: a peer is lost, and the only thing
// left to do is to end the run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// One all-to-all of bytes.
struct ExchangeBuffers {
  std::span<const std::byte> send;     // blocks for rank 0, 1, .. one after another
  std::span<const size_t> send_bytes;  // [num_ranks] size of each block
  std::span<std::byte> recv;           // capacity; blocks of rank 0, 1, .. one after another
  std::span<size_t> recv_bytes;        // [num_ranks] out: size of each block
};

/// The words of one agreement, each reduced to its minimum over ranks. (A maximum is the minimum of
/// ~x.)
inline constexpr int kNumVoteWords = 8;
using VoteWords = std::array<int64_t, kNumVoteWords>;

/// Says what a slice of an expert's bundle is and where it belongs.
struct SliceHeader {
  uint64_t cycle = 0;
  int32_t layer = 0;
  int32_t round = 0;  // of the cycle, over all layers
  int32_t expert = 0;
  int32_t buffer = 0;         // which of the receiver's arrivals of the round
  uint64_t offset_bytes = 0;  // of the slice in the bundle
  uint64_t slice_bytes = 0;
  uint64_t bundle_bytes = 0;
  uint64_t bundle_hash =
      0;  // xxHash of the whole bundle at its source; 0 where this move is not sampled
};

/// The receiving end of a weight channel; called from within WeightChannel::Poll() on the polling
/// thread.
class SliceSink {
 public:
  virtual ~SliceSink() = default;
  /// Where the slice's bytes belong, `slice_bytes` long; an empty span drops the slice.
  virtual std::span<std::byte> Destination(const SliceHeader& header) = 0;
  /// All bytes of the slice are there.
  virtual void Landed(const SliceHeader& header) = 0;
};

/// Moves slices in the background of steps: the receiver copies, in Poll(), straight from the
/// sender's bytes to their place.
class WeightChannel {
 public:
  virtual ~WeightChannel() = default;

  /// Offers a slice to `dst_rank`; never waits. `bytes` must stay readable and unchanged until
  /// Quiet(header.cycle), or until an agreement says that the receiver has it.
  virtual Status Send(int dst_rank, const SliceHeader& header,
                      std::span<const std::byte> bytes) = 0;

  /// Takes in slices that have been offered to this rank, in order per sender, until `byte_budget`
  /// is used up (at least one when any is there). Returns the bytes copied.
  virtual Result<size_t> Poll(SliceSink& sink, size_t byte_budget) = 0;

  /// Gives up what is left of a cycle at this end. Never waits.
  virtual void Cancel(uint64_t cycle) = 0;

  /// True when nothing that this rank offered in `cycle` will be read any more, and nothing of it
  /// will be written here except through SliceSink::Destination().
  virtual bool Quiet(uint64_t cycle) const = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int num_ranks() const = 0;

  /// Sends a block to every rank and receives one from each. All ranks call it in the same order.
  /// `send` must stay unchanged until the *next* Exchange() of this rank returns; to free it after
  /// the last one, exchange nothing once more. (Once an Exchange() failed, or this end is
  /// destroyed, nobody reads what it sent.) Fails with kDeadlineExceeded (naming the first missing
  /// rank), kInternal when the sizes contradict each other or `recv` is too small, or the group's
  /// reason when it was aborted or is broken.
  virtual Status Exchange(const ExchangeBuffers& buffers, const Deadline& deadline) = 0;

  /// Starts to gather `mine` (of the same size on every rank) from all ranks; copies it before it
  /// returns and never waits. `gather_id`s rise; at most kMaxGathers may be started and not taken,
  /// an older one is dropped.
  virtual Status StartGather(uint64_t gather_id, std::span<const std::byte> mine) = 0;
  /// True when every rank's part is there.
  virtual Result<bool> TestGather(uint64_t gather_id) = 0;
  /// Copies [num_ranks, part] to `all`. Waits up to the deadline; kDeadlineExceeded does not break
  /// the group.
  virtual Status TakeGather(uint64_t gather_id, std::span<std::byte> all,
                            const Deadline& deadline) = 0;
  static constexpr int kMaxGathers = 4;

  /// Starts an agreement and never waits. All ranks start the same `vote_id`s, rising, and take
  /// each one's result before they start the next but one.
  virtual Status StartVote(uint64_t vote_id, const VoteWords& words) = 0;
  /// True when the result is there, so that WaitVote() will not wait.
  virtual Result<bool> TestVote(uint64_t vote_id) = 0;
  /// The minimum of every word over all ranks.
  virtual Result<VoteWords> WaitVote(uint64_t vote_id, const Deadline& deadline) = 0;

  virtual WeightChannel& weights() = 0;

  /// Breaks the group: every rank's waiting and later calls fail with `reason` (the first one
  /// given). Any thread may call it.
  virtual void Abort(const Status& reason) = 0;
};

}  // namespace steelyard
