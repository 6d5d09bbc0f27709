#include "comm/fault.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr uint64_t kNoVote = std::numeric_limits<uint64_t>::max();

}  // namespace

FaultyCommunicator::FaultyCommunicator(std::unique_ptr<Communicator> inner, FaultPlan plan,
                                       std::shared_ptr<HeldSlices> held)
    : plan_(std::move(plan)),
      held_(std::move(held)),
      weights_(inner->rank(), plan_, held_),
      inner_(std::move(inner)) {
  weights_.Wrap(inner_->weights());
}

Status FaultyCommunicator::CheckGroup() {
  // Nobody starts this vote: a group that is whole says so, one that is broken gives its reason.
  const Status status = inner_->TestVote(kNoVote).status();
  return status.code() == StatusCode::kFailedPrecondition ? Status::Ok() : status;
}

Status FaultyCommunicator::WaitInVain(const char* phase, uint64_t id, const Deadline& deadline) {
  while (!deadline.Expired()) {
    STEELYARD_RETURN_IF_ERROR(CheckGroup());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return DeadlineExceeded(
      fmt::format("rank {} waited in {} {}, which a fault plan lost", rank(), phase, id));
}

Status FaultyCommunicator::Exchange(const ExchangeBuffers& buffers, const Deadline& deadline) {
  const uint64_t exchange_idx = num_exchanges_++;
  if (plan_.before_exchange) plan_.before_exchange(exchange_idx);
  STEELYARD_RETURN_IF_ERROR(StartLateVotes(0));
  STEELYARD_RETURN_IF_ERROR(StartLateGathers(0));
  if (plan_.miss_exchanges.Contains(exchange_idx)) {
    return WaitInVain("token exchange", exchange_idx, deadline);
  }
  return inner_->Exchange(buffers, deadline);
}

Status FaultyCommunicator::StartGather(uint64_t gather_id, std::span<const std::byte> mine) {
  if (plan_.lose_gathers.Contains(gather_id)) return CheckGroup();
  // Ids rise, so whatever follows a late one waits behind it.
  if (plan_.delay_gathers.Contains(gather_id) || !late_gathers_.empty()) {
    late_gathers_.push_back({gather_id,
                             {mine.begin(), mine.end()},
                             num_exchanges_ + static_cast<uint64_t>(plan_.delay_exchanges)});
    return CheckGroup();
  }
  return inner_->StartGather(gather_id, mine);
}

Result<bool> FaultyCommunicator::TestGather(uint64_t gather_id) {
  const bool is_late =
      std::any_of(late_gathers_.begin(), late_gathers_.end(),
                  [&](const LateGather& late) { return late.gather_id == gather_id; });
  if (is_late || plan_.lose_gathers.Contains(gather_id)) {
    STEELYARD_RETURN_IF_ERROR(CheckGroup());
    return false;
  }
  return inner_->TestGather(gather_id);
}

Status FaultyCommunicator::TakeGather(uint64_t gather_id, std::span<std::byte> all,
                                      const Deadline& deadline) {
  if (plan_.lose_gathers.Contains(gather_id)) return WaitInVain("gather", gather_id, deadline);
  STEELYARD_RETURN_IF_ERROR(StartLateGathers(gather_id));
  return inner_->TakeGather(gather_id, all, deadline);
}

Status FaultyCommunicator::StartVote(uint64_t vote_id, const VoteWords& words) {
  if (plan_.lose_votes.Contains(vote_id)) return CheckGroup();
  if (plan_.delay_votes.Contains(vote_id) || !late_votes_.empty()) {
    late_votes_.push_back(
        {vote_id, words, num_exchanges_ + static_cast<uint64_t>(plan_.delay_exchanges)});
    return CheckGroup();
  }
  return inner_->StartVote(vote_id, words);
}

Result<bool> FaultyCommunicator::TestVote(uint64_t vote_id) {
  const bool is_late = std::any_of(late_votes_.begin(), late_votes_.end(),
                                   [&](const LateVote& late) { return late.vote_id == vote_id; });
  if (is_late || plan_.lose_votes.Contains(vote_id)) {
    STEELYARD_RETURN_IF_ERROR(CheckGroup());
    return false;
  }
  return inner_->TestVote(vote_id);
}

Result<VoteWords> FaultyCommunicator::WaitVote(uint64_t vote_id, const Deadline& deadline) {
  if (plan_.lose_votes.Contains(vote_id)) return WaitInVain("vote", vote_id, deadline);
  STEELYARD_RETURN_IF_ERROR(StartLateVotes(vote_id));
  return inner_->WaitVote(vote_id, deadline);
}

Status FaultyCommunicator::StartLateVotes(uint64_t vote_id) {
  while (!late_votes_.empty() && (late_votes_.front().vote_id <= vote_id ||
                                  late_votes_.front().due_exchange <= num_exchanges_)) {
    const LateVote late = late_votes_.front();
    late_votes_.pop_front();
    STEELYARD_RETURN_IF_ERROR(inner_->StartVote(late.vote_id, late.words));
  }
  return Status::Ok();
}

Status FaultyCommunicator::StartLateGathers(uint64_t gather_id) {
  while (!late_gathers_.empty() && (late_gathers_.front().gather_id <= gather_id ||
                                    late_gathers_.front().due_exchange <= num_exchanges_)) {
    const LateGather late = std::move(late_gathers_.front());
    late_gathers_.pop_front();
    STEELYARD_RETURN_IF_ERROR(inner_->StartGather(late.gather_id, late.mine));
  }
  return Status::Ok();
}

std::vector<std::unique_ptr<FaultyCommunicator>> AddFaults(
    std::vector<std::unique_ptr<Communicator>> ends, const std::vector<FaultPlan>& plans) {
  STEELYARD_CHECK_EQ(ends.size(), plans.size());
  const auto held = std::make_shared<HeldSlices>(static_cast<int>(ends.size()));
  std::vector<std::unique_ptr<FaultyCommunicator>> faulty;
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    faulty.push_back(
        std::make_unique<FaultyCommunicator>(std::move(ends[rank]), plans[rank], held));
  }
  return faulty;
}

}  // namespace steelyard
