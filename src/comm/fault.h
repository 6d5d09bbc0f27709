// A FaultyCommunicator is an end of a group at which a script goes wrong: slices, votes, gather
// parts and token exchanges are lost, late or damaged. It shows that what is above it fails as it
// should.
//
// Threads are those of the Communicator that it wraps: the rank's own, but for Abort(),
// ReleaseHeldSlices() and the counts, which are safe from any thread. Works with any transport
// whose ranks share a process.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "comm/fault_plan.h"
#include "comm/fault_weights.h"
#include "steelyard/comm/communicator.h"

namespace steelyard {

class FaultyCommunicator : public Communicator {
 public:
  /// `held` is shared by all ends of the group.
  FaultyCommunicator(std::unique_ptr<Communicator> inner, FaultPlan plan,
                     std::shared_ptr<HeldSlices> held);

  int rank() const override { return inner_->rank(); }
  int num_ranks() const override { return inner_->num_ranks(); }
  Status Exchange(const ExchangeBuffers& buffers, const Deadline& deadline) override;
  Status StartGather(uint64_t gather_id, std::span<const std::byte> mine) override;
  Result<bool> TestGather(uint64_t gather_id) override;
  Status TakeGather(uint64_t gather_id, std::span<std::byte> all,
                    const Deadline& deadline) override;
  Status StartVote(uint64_t vote_id, const VoteWords& words) override;
  Result<bool> TestVote(uint64_t vote_id) override;
  Result<VoteWords> WaitVote(uint64_t vote_id, const Deadline& deadline) override;
  WeightChannel& weights() override { return weights_; }
  void Abort(const Status& reason) override { inner_->Abort(reason); }

  /// Lets the delayed slices of the whole group arrive with each receiver's next Poll().
  void ReleaseHeldSlices() { held_->ReleaseAll(); }
  /// How many delayed slices of the whole group have not arrived.
  size_t num_held_slices() const { return held_->num_held(); }
  /// How often this rank's slices met a fault of `kind`.
  int64_t num_injected(SliceFault::Kind kind) const { return weights_.num_injected(kind); }

 private:
  struct LateVote {
    uint64_t vote_id;
    VoteWords words;
    uint64_t due_exchange;
  };
  struct LateGather {
    uint64_t gather_id;
    std::vector<std::byte> mine;
    uint64_t due_exchange;
  };

  // The reason when the group is broken.
  Status CheckGroup();
  // What a wait for something that was lost comes to.
  Status WaitInVain(const char* phase, uint64_t id, const Deadline& deadline);
  // Starts what is due, and what is no younger than the id, which is waited for.
  Status StartLateVotes(uint64_t vote_id);
  Status StartLateGathers(uint64_t gather_id);

  const FaultPlan plan_;
  const std::shared_ptr<HeldSlices> held_;
  uint64_t num_exchanges_ = 0;  // begun
  std::deque<LateVote> late_votes_;
  std::deque<LateGather> late_gathers_;
  FaultyWeightChannel weights_;  // its captured bytes outlive the readers that `inner_` waits for
  const std::unique_ptr<Communicator> inner_;
};

/// Wraps every end of a group; `plans` has one plan a rank. Requires: as many plans as ends.
std::vector<std::unique_ptr<FaultyCommunicator>> AddFaults(
    std::vector<std::unique_ptr<Communicator>> ends, const std::vector<FaultPlan>& plans);

}  // namespace steelyard
