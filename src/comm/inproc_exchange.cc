#include "comm/inproc_exchange.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>

namespace steelyard::inproc {
namespace {

std::string Phase(uint64_t exchange_idx) { return fmt::format("token exchange {}", exchange_idx); }

}  // namespace

TokenExchange::TokenExchange(int num_ranks, const BreakFlag& broken)
    : num_ranks_(num_ranks), broken_(broken), ranks_(static_cast<size_t>(num_ranks)) {
  for (RankState& state : ranks_) {
    for (Publication& publication : state.publications) {
      publication.offsets.resize(static_cast<size_t>(num_ranks) + 1);
    }
  }
}

Status TokenExchange::Run(int rank, const ExchangeBuffers& buffers, const Deadline& deadline) {
  if (broken_.IsSet()) return broken_.reason();
  const uint64_t exchange_idx = ranks_[rank].num_published.load(std::memory_order_relaxed);
  STEELYARD_RETURN_IF_ERROR(Publish(rank, buffers));
  STEELYARD_RETURN_IF_ERROR(WaitForAll(rank, exchange_idx, deadline));
  STEELYARD_RETURN_IF_ERROR(CheckSizes(rank, exchange_idx, buffers));
  return Copy(rank, exchange_idx, buffers);
}

Status TokenExchange::Publish(int rank, const ExchangeBuffers& buffers) {
  RankState& state = ranks_[rank];
  const uint64_t exchange_idx = state.num_published.load(std::memory_order_relaxed);
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
  RankState& state = ranks_[rank];
  state.num_published.store(exchange_idx + 1, std::memory_order_release);
  if (num_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_ranks_) {
    num_arrived_.store(0, std::memory_order_relaxed);
    num_complete_.store(exchange_idx + 1, std::memory_order_release);
    Wake();
    return Status::Ok();
  }
  const auto complete = [&] {
    return num_complete_.load(std::memory_order_acquire) > exchange_idx;
  };
  std::unique_lock<std::mutex> lock(state.mutex);
  // No look before sleeping: where cores are shared it takes them from the rank that is waited for
  // (2 ranks on 2 busy cores: 10 us an exchange without, 20 us with 300 looks, 60 us with 2000).
  while (true) {
    switch (WaitFor(lock, state.changed, deadline, broken_, complete)) {
      case WaitEnd::kReady:
        return Status::Ok();
      case WaitEnd::kBroken:
        return broken_.reason();
      case WaitEnd::kExpired: {
        const Status late = LateFor(rank, exchange_idx, deadline);
        if (!late.ok()) return late;
      }
    }
  }
}

// Ok when the last rank has come at this very moment, and is about to complete the exchange.
Status TokenExchange::LateFor(int rank, uint64_t exchange_idx, const Deadline& deadline) const {
  int missing_rank = -1;
  int num_seen = 0;
  for (int peer = 0; peer < num_ranks_; ++peer) {
    if (ranks_[peer].num_published.load(std::memory_order_acquire) > exchange_idx) {
      ++num_seen;
    } else if (missing_rank < 0) {
      missing_rank = peer;
    }
  }
  if (missing_rank < 0) return Status::Ok();
  return Late(rank, Phase(exchange_idx), deadline, missing_rank, num_seen, num_ranks_);
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
  for (RankState& state : ranks_) {
    // A rank that holds its lock has looked too early, but is not waiting yet.
    { const std::lock_guard<std::mutex> lock(state.mutex); }
    state.changed.notify_one();
  }
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
