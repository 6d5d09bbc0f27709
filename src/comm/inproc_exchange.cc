#include "comm/inproc_exchange.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>

namespace steelyard::inproc {
namespace {

// Looking a few times before sleeping pays only where every rank has a core of its own; elsewhere
// it takes the core from the rank that is waited for.
int NumSpins(int num_ranks) {
  return num_ranks <= static_cast<int>(std::thread::hardware_concurrency()) ? 2000 : 0;
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

std::string Phase(uint64_t exchange_idx) { return fmt::format("token exchange {}", exchange_idx); }

}  // namespace

TokenExchange::TokenExchange(int num_ranks, const BreakFlag& broken)
    : num_ranks_(num_ranks),
      broken_(broken),
      num_spins_(NumSpins(num_ranks)),
      ranks_(static_cast<size_t>(num_ranks)) {
  for (RankState& state : ranks_) {
    for (Publication& publication : state.publications) {
      publication.offsets.resize(static_cast<size_t>(num_ranks) + 1);
    }
  }
}

Status TokenExchange::Run(int rank, const ExchangeBuffers& buffers, const Deadline& deadline) {
  if (broken_.IsSet()) return broken_.reason();
  const uint64_t exchange_idx = ranks_[rank].num_published;
  STEELYARD_RETURN_IF_ERROR(Publish(rank, buffers));
  STEELYARD_RETURN_IF_ERROR(WaitForAll(rank, exchange_idx, deadline));
  STEELYARD_RETURN_IF_ERROR(CheckSizes(rank, exchange_idx, buffers));
  return Copy(rank, exchange_idx, buffers);
}

Status TokenExchange::Publish(int rank, const ExchangeBuffers& buffers) {
  RankState& state = ranks_[rank];
  const uint64_t exchange_idx = state.num_published;
  const size_t num_ranks = static_cast<size_t>(num_ranks_);
  if (buffers.send_bytes.size() != num_ranks || buffers.recv_bytes.size() != num_ranks) {
    return Internal(fmt::format(
        "rank {} in {}: sizes of {} blocks to send and {} to receive, for {} ranks", rank,
        Phase(exchange_idx), buffers.send_bytes.size(), buffers.recv_bytes.size(), num_ranks_));
  }
  Publication& publication = state.publications[exchange_idx % 2];
  publication.send = buffers.send.data();
  std::partial_sum(buffers.send_bytes.begin(), buffers.send_bytes.end(),
                   publication.offsets.begin() + 1);
  if (publication.offsets.back() != buffers.send.size()) {
    return Internal(
        fmt::format("rank {} in {}: the blocks to send sum to {} bytes, `send` holds {}", rank,
                    Phase(exchange_idx), publication.offsets.back(), buffers.send.size()));
  }
  return Status::Ok();
}

Status TokenExchange::WaitForAll(int rank, uint64_t exchange_idx, const Deadline& deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  ranks_[rank].num_published = exchange_idx + 1;
  if (++num_arrived_ == num_ranks_) {
    num_arrived_ = 0;
    num_complete_.store(exchange_idx + 1, std::memory_order_release);
    lock.unlock();
    all_published_.notify_all();
    return Status::Ok();
  }
  const auto complete = [&] {
    return num_complete_.load(std::memory_order_acquire) > exchange_idx;
  };
  if (num_spins_ > 0) {
    lock.unlock();
    for (int i = 0; i < num_spins_; ++i) {
      if (complete()) return Status::Ok();
      Pause();
    }
    lock.lock();
  }
  switch (WaitFor(lock, all_published_, deadline, broken_, complete)) {
    case WaitEnd::kReady:
      return Status::Ok();
    case WaitEnd::kBroken:
      return broken_.reason();
    case WaitEnd::kExpired:
      break;
  }
  int missing_rank = 0;
  while (ranks_[missing_rank].num_published > exchange_idx) ++missing_rank;
  return Late(rank, Phase(exchange_idx), deadline, missing_rank, num_arrived_, num_ranks_);
}

Status TokenExchange::CheckSizes(int rank, uint64_t exchange_idx,
                                 const ExchangeBuffers& buffers) const {
  size_t total_bytes = 0;
  for (int sender = 0; sender < num_ranks_; ++sender) {
    const std::vector<size_t>& offsets = ranks_[sender].publications[exchange_idx % 2].offsets;
    buffers.recv_bytes[sender] = offsets[rank + 1] - offsets[rank];
    total_bytes += buffers.recv_bytes[sender];
  }
  if (total_bytes > buffers.recv.size()) {
    return Internal(fmt::format("rank {} in {}: {} bytes come in, `recv` holds {}", rank,
                                Phase(exchange_idx), total_bytes, buffers.recv.size()));
  }
  return Status::Ok();
}

Status TokenExchange::Copy(int rank, uint64_t exchange_idx, const ExchangeBuffers& buffers) {
  RankState& state = ranks_[rank];
  state.copies_begun.store(exchange_idx + 1, std::memory_order_seq_cst);
  const bool broken = broken_.IsSet();
  if (!broken) {
    std::byte* recv = buffers.recv.data();
    for (int sender = 0; sender < num_ranks_; ++sender) {
      const Publication& publication = ranks_[sender].publications[exchange_idx % 2];
      const size_t num_bytes = buffers.recv_bytes[sender];
      if (num_bytes == 0) continue;
      std::memcpy(recv, publication.send + publication.offsets[rank], num_bytes);
      recv += num_bytes;
    }
  }
  state.copies_ended.store(exchange_idx + 1, std::memory_order_release);
  return broken ? broken_.reason() : Status::Ok();
}

void TokenExchange::Wake() {
  // Whoever holds the lock has looked at the break flag too early, but is not waiting yet.
  { const std::lock_guard<std::mutex> lock(mutex_); }
  all_published_.notify_all();
}

void TokenExchange::WaitForCopies(int rank) const {
  // What this rank published last may still be copied by ranks that have not woken up yet, unless
  // the group is broken.
  const uint64_t num_complete = num_complete_.load(std::memory_order_acquire);
  for (int reader = 0; reader < num_ranks_; ++reader) {
    if (reader == rank) continue;
    const RankState& state = ranks_[reader];
    const auto reads = [&] {
      const uint64_t until =
          broken_.IsSet() ? state.copies_begun.load(std::memory_order_seq_cst) : num_complete;
      return state.copies_ended.load(std::memory_order_acquire) < until;
    };
    while (reads()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace steelyard::inproc
