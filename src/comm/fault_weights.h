// The weight channel of a FaultyCommunicator, and the place where delayed slices wait.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "comm/fault_plan.h"
#include "steelyard/comm/communicator.h"

namespace steelyard {

/// Slices under way, with their bytes, for all receivers of a group. Safe from any thread.
class HeldSlices {
 public:
  struct Slice {
    SliceHeader header;
    std::vector<std::byte> bytes;
    int polls_left = SliceFault::kUntilReleased;
  };

  explicit HeldSlices(int num_ranks) : mailboxes_(static_cast<size_t>(num_ranks)) {}

  void Hold(int dst_rank, Slice slice);
  /// Counts one Poll() of the receiver and takes out what is due.
  std::vector<Slice> CountPoll(int dst_rank);
  /// Puts slices that found no room in the budget back in front.
  void PutBack(int dst_rank, std::vector<Slice> slices);
  void ReleaseAll();
  size_t num_held() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::deque<Slice>>
      mailboxes_;  // [num_ranks] of receivers, in the order of their sending
};

class FaultyWeightChannel : public WeightChannel {
 public:
  FaultyWeightChannel(int rank, const FaultPlan& plan, std::shared_ptr<HeldSlices> held);
  /// Requires: called once, before anything else.
  void Wrap(WeightChannel& inner) { inner_ = &inner; }

  Status Send(int dst_rank, const SliceHeader& header, std::span<const std::byte> bytes) override;
  Result<size_t> Poll(SliceSink& sink, size_t byte_budget) override;
  void Cancel(uint64_t cycle) override { inner_->Cancel(cycle); }
  bool Quiet(uint64_t cycle) const override { return inner_->Quiet(cycle); }

  /// How often this rank's slices met a fault of `kind`. From any thread.
  int64_t num_injected(SliceFault::Kind kind) const;

 private:
  struct Script {
    SliceFault fault;
    int64_t num_matches = 0;
    int64_t num_injected = 0;
  };

  const SliceFault* Pick(int dst_rank, const SliceHeader& header);
  std::vector<std::byte>& Capture(std::span<const std::byte> bytes);

  const int rank_;
  uint64_t random_state_;
  std::vector<Script> scripts_;
  const std::shared_ptr<HeldSlices> held_;
  std::deque<std::vector<std::byte>> captured_;  // offered to `inner_`, so kept to the end
  std::array<std::atomic<int64_t>, SliceFault::kNumKinds> num_injected_{};
  WeightChannel* inner_ = nullptr;
};

}  // namespace steelyard
