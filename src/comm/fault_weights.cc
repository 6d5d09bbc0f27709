#include "comm/fault_weights.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace steelyard {
namespace {

bool Matches(const SliceFault& fault, int dst_rank, const SliceHeader& header) {
  const auto is = [](int64_t wanted, int64_t value) { return wanted == -1 || wanted == value; };
  return is(fault.cycle, static_cast<int64_t>(header.cycle)) && is(fault.layer, header.layer) &&
         is(fault.round, header.round) && is(fault.expert, header.expert) &&
         is(fault.dst_rank, dst_rank);
}

// A linear congruential step (Knuth's MMIX constants); the high half is the usable one.
uint64_t NextRandom(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 32;
}

}  // namespace

void HeldSlices::Hold(int dst_rank, Slice slice) {
  const std::lock_guard<std::mutex> lock(mutex_);
  mailboxes_[dst_rank].push_back(std::move(slice));
}

std::vector<HeldSlices::Slice> HeldSlices::CountPoll(int dst_rank) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::deque<Slice>& mailbox = mailboxes_[dst_rank];
  for (Slice& slice : mailbox) {
    if (slice.polls_left > 0) --slice.polls_left;
  }
  std::vector<Slice> due;
  std::deque<Slice> rest;
  for (Slice& slice : mailbox) {
    if (slice.polls_left == 0) {
      due.push_back(std::move(slice));
    } else {
      rest.push_back(std::move(slice));
    }
  }
  mailbox = std::move(rest);
  return due;
}

void HeldSlices::PutBack(int dst_rank, std::vector<Slice> slices) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::deque<Slice>& mailbox = mailboxes_[dst_rank];
  mailbox.insert(mailbox.begin(), std::make_move_iterator(slices.begin()),
                 std::make_move_iterator(slices.end()));
}

void HeldSlices::ReleaseAll() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (std::deque<Slice>& mailbox : mailboxes_) {
    for (Slice& slice : mailbox) slice.polls_left = 0;
  }
}

size_t HeldSlices::num_held() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t num_held = 0;
  for (const std::deque<Slice>& mailbox : mailboxes_) num_held += mailbox.size();
  return num_held;
}

FaultyWeightChannel::FaultyWeightChannel(int rank, const FaultPlan& plan,
                                         std::shared_ptr<HeldSlices> held)
    : rank_(rank), random_state_(plan.seed), held_(std::move(held)) {
  for (const SliceFault& fault : plan.slices) scripts_.push_back({fault, 0, 0});
}

int64_t FaultyWeightChannel::num_injected(SliceFault::Kind kind) const {
  return num_injected_[static_cast<size_t>(kind)].load(std::memory_order_acquire);
}

const SliceFault* FaultyWeightChannel::Pick(int dst_rank, const SliceHeader& header) {
  for (Script& script : scripts_) {
    if (!Matches(script.fault, dst_rank, header)) continue;
    if (++script.num_matches % script.fault.every != 0) continue;
    if (script.num_injected == script.fault.at_most) continue;
    ++script.num_injected;
    num_injected_[static_cast<size_t>(script.fault.kind)].fetch_add(1, std::memory_order_acq_rel);
    return &script.fault;
  }
  return nullptr;
}

std::vector<std::byte>& FaultyWeightChannel::Capture(std::span<const std::byte> bytes) {
  return captured_.emplace_back(bytes.begin(), bytes.end());
}

Status FaultyWeightChannel::Send(int dst_rank, const SliceHeader& header,
                                 std::span<const std::byte> bytes) {
  const SliceFault* fault = bytes.empty() ? nullptr : Pick(dst_rank, header);
  if (fault == nullptr) return inner_->Send(dst_rank, header, bytes);
  switch (fault->kind) {
    case SliceFault::Kind::kLose:
      break;
    case SliceFault::Kind::kCorrupt: {
      std::vector<std::byte>& copy = Capture(bytes);
      copy[NextRandom(random_state_) % copy.size()] ^= std::byte{0x10};
      return inner_->Send(dst_rank, header, copy);
    }
    case SliceFault::Kind::kTruncate: {
      SliceHeader shorter = header;
      shorter.slice_bytes = (bytes.size() + 1) / 2;
      return inner_->Send(dst_rank, shorter, Capture(bytes.first(shorter.slice_bytes)));
    }
    case SliceFault::Kind::kDuplicate:
      STEELYARD_RETURN_IF_ERROR(inner_->Send(dst_rank, header, bytes));
      return inner_->Send(dst_rank, header, bytes);
    case SliceFault::Kind::kDelay:
      held_->Hold(dst_rank, {header, {bytes.begin(), bytes.end()}, fault->delay_polls});
      break;
  }
  return Status::Ok();
}

Result<size_t> FaultyWeightChannel::Poll(SliceSink& sink, size_t byte_budget) {
  std::vector<HeldSlices::Slice> due = held_->CountPoll(rank_);
  size_t copied_bytes = 0;
  size_t num_delivered = 0;
  for (const HeldSlices::Slice& slice : due) {
    if (copied_bytes > 0 && copied_bytes + slice.bytes.size() > byte_budget) break;
    const std::span<std::byte> destination = sink.Destination(slice.header);
    if (destination.size() == slice.bytes.size()) {
      std::memcpy(destination.data(), slice.bytes.data(), slice.bytes.size());
      sink.Landed(slice.header);
      copied_bytes += slice.bytes.size();
    } else if (!destination.empty()) {
      return Internal("a late slice has a place of another size than its own");
    }
    ++num_delivered;
  }
  due.erase(due.begin(), due.begin() + static_cast<std::ptrdiff_t>(num_delivered));
  if (!due.empty()) held_->PutBack(rank_, std::move(due));
  if (copied_bytes > 0 && copied_bytes >= byte_budget) return copied_bytes;
  STEELYARD_ASSIGN_OR_RETURN(const size_t inner_bytes,
                             inner_->Poll(sink, byte_budget - copied_bytes));
  return copied_bytes + inner_bytes;
}

}  // namespace steelyard
