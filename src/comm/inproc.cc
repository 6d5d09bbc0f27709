#include "steelyard/comm/inproc.h"

#include <fmt/format.h>

#include <utility>

#include "comm/inproc_exchange.h"
#include "comm/inproc_gather.h"
#include "comm/inproc_vote.h"
#include "comm/inproc_wait.h"
#include "comm/inproc_weights.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// Everything that the ranks share.
struct Group {
  explicit Group(int num_ranks)
      : exchange(num_ranks, broken),
        gathers(num_ranks, broken),
        votes(num_ranks, broken),
        offers(static_cast<size_t>(num_ranks)) {}

  void Break(const Status& reason) {
    broken.Set(reason);
    exchange.Wake();
    gathers.Wake();
    votes.Wake();
  }

  inproc::BreakFlag broken;
  inproc::TokenExchange exchange;
  inproc::GatherRing gathers;
  inproc::VoteRing votes;
  std::vector<inproc::OfferQueue> offers;  // [num_ranks] of receivers
};

class InprocCommunicator : public Communicator {
 public:
  InprocCommunicator(int rank, int num_ranks, std::shared_ptr<Group> group)
      : rank_(rank),
        num_ranks_(num_ranks),
        group_(std::move(group)),
        weights_(rank, group_->offers, group_->broken) {}
  // Then nobody reads this rank's memory any more, and it may be freed.
  ~InprocCommunicator() override { group_->exchange.WaitForCopies(rank_); }

  int rank() const override { return rank_; }
  int num_ranks() const override { return num_ranks_; }

  Status Exchange(const ExchangeBuffers& buffers, const Deadline& deadline) override {
    Status status = group_->exchange.Run(rank_, buffers, deadline);
    if (!status.ok()) {
      BreakFor(status);
      group_->exchange.WaitForCopies(rank_);
    }
    return status;
  }

  Status StartGather(uint64_t gather_id, std::span<const std::byte> mine) override {
    return group_->gathers.Start(rank_, gather_id, mine);
  }
  Result<bool> TestGather(uint64_t gather_id) override {
    return group_->gathers.Test(rank_, gather_id);
  }
  Status TakeGather(uint64_t gather_id, std::span<std::byte> all,
                    const Deadline& deadline) override {
    return group_->gathers.Take(rank_, gather_id, all, deadline);
  }

  Status StartVote(uint64_t vote_id, const VoteWords& words) override {
    Status status = group_->votes.Start(rank_, vote_id, words);
    if (status.code() == StatusCode::kInternal) BreakFor(status);
    return status;
  }
  Result<bool> TestVote(uint64_t vote_id) override { return group_->votes.Test(rank_, vote_id); }
  Result<VoteWords> WaitVote(uint64_t vote_id, const Deadline& deadline) override {
    Result<VoteWords> result = group_->votes.Wait(rank_, vote_id, deadline);
    if (result.status().code() == StatusCode::kDeadlineExceeded) BreakFor(result.status());
    return result;
  }

  WeightChannel& weights() override { return weights_; }

  void Abort(const Status& reason) override {
    STEELYARD_CHECK(!reason.ok());
    group_->Break(reason);
  }

 private:
  // The others hear that a peer gave up, and why.
  void BreakFor(const Status& failure) {
    group_->Break(Unavailable(fmt::format("the group is broken: {}", failure.message())));
  }

  const int rank_;
  const int num_ranks_;
  const std::shared_ptr<Group> group_;
  inproc::OfferChannel weights_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeInprocGroup(int num_ranks) {
  STEELYARD_CHECK_GE(num_ranks, 1);
  const auto group = std::make_shared<Group>(num_ranks);
  std::vector<std::unique_ptr<Communicator>> ends;
  for (int rank = 0; rank < num_ranks; ++rank) {
    ends.push_back(std::make_unique<InprocCommunicator>(rank, num_ranks, group));
  }
  return ends;
}

}  // namespace steelyard
