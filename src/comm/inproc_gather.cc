#include "comm/inproc_gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace steelyard::inproc {
namespace {

Status NotOpen(int rank, uint64_t gather_id) {
  return FailedPrecondition(
      fmt::format("rank {} has no open gather {}: never started, taken, or dropped for newer ones",
                  rank, gather_id));
}

}  // namespace

GatherRing::GatherRing(int num_ranks, const BreakFlag& broken)
    : num_ranks_(num_ranks), broken_(broken), ranks_(static_cast<size_t>(num_ranks)) {
  for (RankState& state : ranks_) state.pinned.resize(ranks_.size());
}

GatherRing::Part* GatherRing::Find(RankState& state, uint64_t gather_id) {
  for (Part& part : state.parts) {
    if (part.is_there && part.gather_id == gather_id) return &part;
  }
  return nullptr;
}

bool GatherRing::IsOpen(const RankState& state, uint64_t gather_id) {
  const auto end = state.open.begin() + state.num_open;
  return std::find(state.open.begin(), end, gather_id) != end;
}

void GatherRing::Close(RankState& state, uint64_t gather_id) {
  const auto end = state.open.begin() + state.num_open;
  state.num_open =
      static_cast<int>(std::remove(state.open.begin(), end, gather_id) - state.open.begin());
}

GatherRing::Part* GatherRing::PickPartToOverwrite(RankState& state) {
  Part* oldest = nullptr;
  for (Part& part : state.parts) {
    if (part.num_readers > 0) continue;
    if (!part.is_there) return &part;
    if (oldest == nullptr || part.gather_id < oldest->gather_id) oldest = &part;
  }
  return oldest;
}

Status GatherRing::Start(int rank, uint64_t gather_id, std::span<const std::byte> mine) {
  if (broken_.IsSet()) return broken_.reason();
  RankState& state = ranks_[rank];
  Part* part = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (state.has_started && gather_id <= state.last_id) {
      return FailedPrecondition(
          fmt::format("rank {} starts gather {} after gather {}: ids must rise", rank, gather_id,
                      state.last_id));
    }
    part = PickPartToOverwrite(state);
    if (part == nullptr) {
      return Unavailable(fmt::format(
          "rank {} cannot start gather {}: peers copy all its older parts", rank, gather_id));
    }
    part->is_there = false;
    if (!state.has_started) {
      for (Part& each : state.parts) each.bytes.resize(mine.size());
    }
  }
  part->bytes.assign(mine.begin(), mine.end());
  const std::lock_guard<std::mutex> lock(mutex_);
  part->is_there = true;
  part->gather_id = gather_id;
  state.has_started = true;
  state.last_id = gather_id;
  if (state.num_open == kMaxOpen) Close(state, state.open[0]);
  state.open[state.num_open++] = gather_id;
  part_came_.notify_all();
  return Status::Ok();
}

Result<int> GatherRing::NumThere(int rank, uint64_t gather_id) {
  int num_there = 0;
  for (int peer = 0; peer < num_ranks_; ++peer) {
    RankState& state = ranks_[peer];
    if (Find(state, gather_id) != nullptr) {
      ++num_there;
    } else if (state.has_started && state.last_id > gather_id) {
      return FailedPrecondition(fmt::format(
          "rank {} cannot take gather {}: rank {} has started gather {} and holds no part of it",
          rank, gather_id, peer, state.last_id));
    }
  }
  return num_there;
}

Result<bool> GatherRing::Test(int rank, uint64_t gather_id) {
  if (broken_.IsSet()) return broken_.reason();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!IsOpen(ranks_[rank], gather_id)) return NotOpen(rank, gather_id);
  STEELYARD_ASSIGN_OR_RETURN(const int num_there, NumThere(rank, gather_id));
  return num_there == num_ranks_;
}

Status GatherRing::CheckSizes(int rank, uint64_t gather_id, size_t all_bytes) {
  const size_t part_bytes = Find(ranks_[rank], gather_id)->bytes.size();
  if (all_bytes != part_bytes * static_cast<size_t>(num_ranks_)) {
    return InvalidArgument(
        fmt::format("rank {} takes gather {} of {} parts of {} bytes into {} bytes", rank,
                    gather_id, num_ranks_, part_bytes, all_bytes));
  }
  for (int peer = 0; peer < num_ranks_; ++peer) {
    const size_t peer_bytes = Find(ranks_[peer], gather_id)->bytes.size();
    if (peer_bytes != part_bytes) {
      return Internal(
          fmt::format("gather {}: the part of rank {} has {} bytes, that of rank {} has {}",
                      gather_id, rank, part_bytes, peer, peer_bytes));
    }
  }
  return Status::Ok();
}

void GatherRing::CopyParts(std::unique_lock<std::mutex>& lock, int rank, uint64_t gather_id,
                           std::span<std::byte> all) {
  std::vector<Part*>& pinned = ranks_[rank].pinned;
  for (int peer = 0; peer < num_ranks_; ++peer) {
    pinned[peer] = Find(ranks_[peer], gather_id);
    ++pinned[peer]->num_readers;
  }
  lock.unlock();
  std::byte* to = all.data();
  for (const Part* part : pinned) {
    if (part->bytes.empty()) continue;
    std::memcpy(to, part->bytes.data(), part->bytes.size());
    to += part->bytes.size();
  }
  lock.lock();
  for (Part* part : pinned) --part->num_readers;
}

Status GatherRing::Take(int rank, uint64_t gather_id, std::span<std::byte> all,
                        const Deadline& deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (broken_.IsSet()) return broken_.reason();
  if (!IsOpen(ranks_[rank], gather_id)) return NotOpen(rank, gather_id);
  Result<int> num_there = 0;
  const auto decided = [&] {
    num_there = NumThere(rank, gather_id);
    return !num_there.ok() || *num_there == num_ranks_;
  };
  switch (WaitFor(lock, part_came_, deadline, broken_, decided)) {
    case WaitEnd::kReady:
      break;
    case WaitEnd::kBroken:
      return broken_.reason();
    case WaitEnd::kExpired: {
      int missing_rank = 0;
      while (Find(ranks_[missing_rank], gather_id) != nullptr) ++missing_rank;
      return Late(rank, fmt::format("gather {}", gather_id), deadline, missing_rank, *num_there,
                  num_ranks_);
    }
  }
  if (!num_there.ok()) return num_there.status();
  STEELYARD_RETURN_IF_ERROR(CheckSizes(rank, gather_id, all.size()));
  CopyParts(lock, rank, gather_id, all);
  Close(ranks_[rank], gather_id);
  return Status::Ok();
}

void GatherRing::Wake() {
  { const std::lock_guard<std::mutex> lock(mutex_); }
  part_came_.notify_all();
}

}  // namespace steelyard::inproc
