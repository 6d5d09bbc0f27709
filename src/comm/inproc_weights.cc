#include "comm/inproc_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace steelyard::inproc {
namespace {

constexpr size_t kReservedOffers = 256;

std::string Name(const SliceHeader& header) {
  return fmt::format("slice of cycle {} layer {} round {} expert {} at byte {}", header.cycle,
                     header.layer, header.round, header.expert, header.offset_bytes);
}

}  // namespace

OfferQueue::OfferQueue() { offers_.reserve(kReservedOffers); }

bool OfferQueue::Matches(const Offer& offer, int sender, uint64_t cycle) {
  return (sender == kAnySender || offer.sender == sender) &&
         (cycle == kAnyCycle || offer.header.cycle == cycle);
}

void OfferQueue::Push(const Offer& offer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Room at the front is used before the queue grows, once it is half of it: each offer is then
  // shifted at most once on average.
  if (offers_.size() == offers_.capacity() && first_ >= offers_.size() / 2) {
    offers_.erase(offers_.begin(), offers_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
  offers_.push_back(offer);
  num_queued_.store(offers_.size() - first_, std::memory_order_release);
}

bool OfferQueue::BeginCopy(size_t max_bytes, Offer& offer) {
  if (num_queued_.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (first_ == offers_.size() || offers_[first_].bytes.size() > max_bytes) return false;
  offer = copying_ = offers_[first_++];
  is_copying_ = true;
  if (first_ == offers_.size()) {
    offers_.clear();
    first_ = 0;
  }
  num_queued_.store(offers_.size() - first_, std::memory_order_release);
  return true;
}

void OfferQueue::EndCopy() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_copying_ = false;
}

void OfferQueue::Withdraw(int sender, uint64_t cycle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto queued = offers_.begin() + static_cast<std::ptrdiff_t>(first_);
  const auto matches = [&](const Offer& offer) { return Matches(offer, sender, cycle); };
  offers_.erase(std::remove_if(queued, offers_.end(), matches), offers_.end());
  num_queued_.store(offers_.size() - first_, std::memory_order_release);
}

bool OfferQueue::Holds(int sender, uint64_t cycle) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_copying_ && Matches(copying_, sender, cycle)) return true;
  const auto queued = offers_.begin() + static_cast<std::ptrdiff_t>(first_);
  return std::any_of(queued, offers_.end(),
                     [&](const Offer& offer) { return Matches(offer, sender, cycle); });
}

OfferChannel::OfferChannel(int rank, std::vector<OfferQueue>& queues, const BreakFlag& broken)
    : rank_(rank), queues_(queues), broken_(broken) {}

OfferChannel::~OfferChannel() {
  for (OfferQueue& queue : queues_) queue.Withdraw(rank_, OfferQueue::kAnyCycle);
  while (!Quiet(OfferQueue::kAnyCycle)) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

Status OfferChannel::Send(int dst_rank, const SliceHeader& header,
                          std::span<const std::byte> bytes) {
  if (broken_.IsSet()) return broken_.reason();
  if (dst_rank < 0 || dst_rank >= static_cast<int>(queues_.size())) {
    return InvalidArgument(fmt::format("rank {} offers a {} to rank {} of {} ranks", rank_,
                                       Name(header), dst_rank, queues_.size()));
  }
  if (bytes.empty() || bytes.size() != header.slice_bytes) {
    return InvalidArgument(fmt::format("rank {} offers a {} that says {} bytes and has {}", rank_,
                                       Name(header), header.slice_bytes, bytes.size()));
  }
  queues_[dst_rank].Push({rank_, header, bytes});
  return Status::Ok();
}

Result<size_t> OfferChannel::Poll(SliceSink& sink, size_t byte_budget) {
  if (broken_.IsSet()) return broken_.reason();
  OfferQueue& queue = queues_[rank_];
  OfferQueue::Offer offer;
  size_t copied_bytes = 0;
  while (queue.BeginCopy(copied_bytes == 0 ? std::numeric_limits<size_t>::max()
                                           : byte_budget - std::min(byte_budget, copied_bytes),
                         offer)) {
    const std::span<std::byte> destination = sink.Destination(offer.header);
    const bool is_wanted = destination.size() == offer.bytes.size();
    if (is_wanted) std::memcpy(destination.data(), offer.bytes.data(), offer.bytes.size());
    queue.EndCopy();
    if (is_wanted) {
      sink.Landed(offer.header);
      copied_bytes += offer.bytes.size();
    } else if (!destination.empty()) {
      return Internal(fmt::format("rank {} has {} bytes of room for the {}, which has {}", rank_,
                                  destination.size(), Name(offer.header), offer.bytes.size()));
    }
  }
  return copied_bytes;
}

void OfferChannel::Cancel(uint64_t cycle) {
  for (OfferQueue& queue : queues_) queue.Withdraw(rank_, cycle);
  queues_[rank_].Withdraw(OfferQueue::kAnySender, cycle);
}

bool OfferChannel::Quiet(uint64_t cycle) const {
  return std::none_of(queues_.begin(), queues_.end(),
                      [&](const OfferQueue& queue) { return queue.Holds(rank_, cycle); });
}

}  // namespace steelyard::inproc
