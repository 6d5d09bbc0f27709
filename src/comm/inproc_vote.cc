#include "comm/inproc_vote.h"

#include <fmt/format.h>

#include <algorithm>

namespace steelyard::inproc {

VoteRing::VoteRing(int num_ranks, const BreakFlag& broken)
    : num_ranks_(num_ranks), broken_(broken), ranks_(static_cast<size_t>(num_ranks)) {}

Status VoteRing::Start(int rank, uint64_t vote_id, const VoteWords& words) {
  if (broken_.IsSet()) return broken_.reason();
  const std::lock_guard<std::mutex> lock(mutex_);
  RankState& state = ranks_[rank];
  if (state.num_started > 0 && vote_id <= state.last_id) {
    return FailedPrecondition(fmt::format("rank {} starts vote {} after vote {}: ids must rise",
                                          rank, vote_id, state.last_id));
  }
  if (state.num_started - state.num_taken == kMaxOpen) {
    return FailedPrecondition(
        fmt::format("rank {} starts vote {} with {} votes not taken yet", rank, vote_id, kMaxOpen));
  }
  Entry& entry = entries_[state.num_started % kNumEntries];
  const bool is_first = std::all_of(ranks_.begin(), ranks_.end(), [&](const RankState& other) {
    return other.num_started <= state.num_started;
  });
  if (is_first) {
    entry = Entry{vote_id, rank, 0, words};
  } else if (entry.vote_id != vote_id) {
    return Internal(fmt::format("rank {} starts vote {} where rank {} has started vote {}", rank,
                                vote_id, entry.first_rank, entry.vote_id));
  }
  for (int i = 0; i < kNumVoteWords; ++i) entry.words[i] = std::min(entry.words[i], words[i]);
  ++state.num_started;
  state.last_id = vote_id;
  if (++entry.num_seen == num_ranks_) complete_.notify_all();
  return Status::Ok();
}

VoteRing::Entry* VoteRing::FindOpen(int rank, uint64_t vote_id) {
  const RankState& state = ranks_[rank];
  for (uint64_t k = state.num_taken; k < state.num_started; ++k) {
    Entry& entry = entries_[k % kNumEntries];
    if (entry.vote_id == vote_id) return &entry;
  }
  return nullptr;
}

Status VoteRing::NotOpen(int rank, uint64_t vote_id) const {
  return FailedPrecondition(
      fmt::format("rank {} has no open vote {}: never started, or taken", rank, vote_id));
}

Result<bool> VoteRing::Test(int rank, uint64_t vote_id) {
  if (broken_.IsSet()) return broken_.reason();
  const std::lock_guard<std::mutex> lock(mutex_);
  const Entry* entry = FindOpen(rank, vote_id);
  if (entry == nullptr) return NotOpen(rank, vote_id);
  return entry->num_seen == num_ranks_;
}

Result<VoteWords> VoteRing::Wait(int rank, uint64_t vote_id, const Deadline& deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (broken_.IsSet()) return broken_.reason();
  RankState& state = ranks_[rank];
  Entry* entry = FindOpen(rank, vote_id);
  if (entry == nullptr) return NotOpen(rank, vote_id);
  if (entry != &entries_[state.num_taken % kNumEntries]) {
    return FailedPrecondition(
        fmt::format("rank {} takes vote {} before an older one", rank, vote_id));
  }
  const auto complete = [&] { return entry->num_seen == num_ranks_; };
  switch (WaitFor(lock, complete_, deadline, broken_, complete)) {
    case WaitEnd::kReady:
      ++state.num_taken;
      return entry->words;
    case WaitEnd::kBroken:
      return broken_.reason();
    case WaitEnd::kExpired:
      break;
  }
  int missing_rank = 0;
  while (ranks_[missing_rank].num_started > state.num_taken) ++missing_rank;
  return Late(rank, fmt::format("vote {}", vote_id), deadline, missing_rank, entry->num_seen,
              num_ranks_);
}

void VoteRing::Wake() {
  { const std::lock_guard<std::mutex> lock(mutex_); }
  complete_.notify_all();
}

}  // namespace steelyard::inproc
