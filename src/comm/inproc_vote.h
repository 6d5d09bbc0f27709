// The agreements of an in-process group: every rank's words are reduced as they come in.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "comm/inproc_wait.h"
#include "steelyard/comm/communicator.h"

namespace steelyard::inproc {

/// Votes are counted per rank: the k-th vote of every rank is the same vote, and its id must agree.
///
/// A rank may have two votes that it has not taken. It starts vote k after it took k-2, so every
/// rank has started k-2 by then and taken k-4: four entries, k at k % 4, never overwrite a result
/// that somebody still needs.
class VoteRing {
 public:
  static constexpr int kMaxOpen = 2;

  VoteRing(int num_ranks, const BreakFlag& broken);

  /// As in Communicator. A failure of Start() with kInternal, or any of Wait(), is for the caller
  /// to break the group with, unless it is kFailedPrecondition.
  Status Start(int rank, uint64_t vote_id, const VoteWords& words);
  Result<bool> Test(int rank, uint64_t vote_id);
  Result<VoteWords> Wait(int rank, uint64_t vote_id, const Deadline& deadline);
  void Wake();

 private:
  static constexpr int kNumEntries = 2 * kMaxOpen;
  struct Entry {
    uint64_t vote_id = 0;
    int first_rank = 0;
    int num_seen = 0;
    VoteWords words{};
  };
  struct RankState {
    uint64_t num_started = 0;
    uint64_t num_taken = 0;
    uint64_t last_id = 0;
  };

  // The entry of an open vote of `rank`; null when it has none of that id. Votes are taken in
  // order.
  Entry* FindOpen(int rank, uint64_t vote_id);
  Status NotOpen(int rank, uint64_t vote_id) const;

  const int num_ranks_;
  const BreakFlag& broken_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable complete_;
  std::array<Entry, kNumEntries> entries_;
  std::vector<RankState> ranks_;  // [num_ranks]
};

}  // namespace steelyard::inproc
