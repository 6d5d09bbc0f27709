// The gathers of an in-process group: each rank keeps its newest parts where every other can copy
// them from.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "comm/inproc_wait.h"
#include "steelyard/comm/communicator.h"

namespace steelyard::inproc {

/// A rank keeps twice as many parts as it may have open: a peer that is up to kMaxGathers starts
/// behind still finds what it waits for, and one that is farther behind gets an error. A part that
/// is being copied is pinned and not overwritten. The memory of all parts is taken at a rank's
/// first gather, and again only when a later one is larger.
class GatherRing {
 public:
  GatherRing(int num_ranks, const BreakFlag& broken);

  /// As in Communicator.
  Status Start(int rank, uint64_t gather_id, std::span<const std::byte> mine);
  Result<bool> Test(int rank, uint64_t gather_id);
  Status Take(int rank, uint64_t gather_id, std::span<std::byte> all, const Deadline& deadline);
  void Wake();

 private:
  static constexpr int kMaxOpen = Communicator::kMaxGathers;
  struct Part {
    bool is_there = false;
    uint64_t gather_id = 0;
    int num_readers = 0;
    std::vector<std::byte> bytes;
  };
  struct RankState {
    std::array<Part, 2 * kMaxOpen> parts;
    std::array<uint64_t, kMaxOpen> open{};  // ids that this rank may still take, oldest first
    int num_open = 0;
    bool has_started = false;
    uint64_t last_id = 0;
    std::vector<Part*> pinned;  // [num_ranks] what this rank's Take() copies from
  };

  static Part* Find(RankState& state, uint64_t gather_id);
  static bool IsOpen(const RankState& state, uint64_t gather_id);
  static void Close(RankState& state, uint64_t gather_id);
  static Part* PickPartToOverwrite(RankState& state);
  // How many ranks' parts are there; fails when one of them will never be.
  Result<int> NumThere(int rank, uint64_t gather_id);
  Status CheckSizes(int rank, uint64_t gather_id, size_t all_bytes);
  void CopyParts(std::unique_lock<std::mutex>& lock, int rank, uint64_t gather_id,
                 std::span<std::byte> all);

  const int num_ranks_;
  const BreakFlag& broken_;
  std::mutex
      mutex_;  // guards everything below but the bytes of a pinned part or one that is not there
  std::condition_variable part_came_;
  std::vector<RankState> ranks_;  // [num_ranks]
};

}  // namespace steelyard::inproc
