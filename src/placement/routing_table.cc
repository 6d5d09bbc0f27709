#include "steelyard/placement/routing_table.h"

#include <algorithm>
#include <cmath>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

constexpr uint64_t kOne = uint64_t{1} << 32;  // a share of 1, and the end of the points

// Fractions, times 2^32, of the golden ratio, of the square root of 2 and of the cube root of 2. No
// number is harder to approximate by fractions than the first, so that any run of its multiples is
// spread evenly; the others are hard to approximate too and not fractions of one another, so that
// the runs of ranks and of steps interleave. Of 42 pairs of roots tried for the last two this one
// left the least error over a window.
constexpr uint32_t kTokenStride = 2654435769u;
constexpr uint32_t kRankStride = 1779033703u;
constexpr uint32_t kStepStride = 1116352408u;

// The finaliser of splitmix64: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

uint32_t ReplicaOffset(int rank, uint64_t step, int expert) {
  // Hashed, so that experts with a token each do not all start at the same share.
  const auto start = static_cast<uint32_t>(Mix(static_cast<uint64_t>(expert) + 1) >> 32);
  return start + static_cast<uint32_t>(rank) * kRankStride +
         static_cast<uint32_t>(step) * kStepStride;
}

RoutingTable::RoutingTable(int num_experts, int num_slots) {
  first_.reserve(static_cast<size_t>(num_experts) + 1);
  slots_.reserve(num_slots);
  shares_.reserve(num_slots);
  upto_.reserve(num_slots);
}

void RoutingTable::Assign(int num_experts, std::span<const int32_t> slot_to_expert,
                          std::span<const double> shares) {
  const size_t num_slots = slot_to_expert.size();
  STEELYARD_CHECK(shares.empty() || shares.size() == num_slots);
  first_.assign(static_cast<size_t>(num_experts) + 1, 0);
  slots_.resize(num_slots);
  shares_.resize(num_slots);
  upto_.resize(num_slots);
  // A counting sort: first_[e + 1] counts the slots of e, then says where they begin, and at last
  // where they end, which is where those of e + 1 begin.
  for (const int32_t expert : slot_to_expert) {
    if (expert == kNoExpert) continue;
    STEELYARD_CHECK(0 <= expert && expert < num_experts);
    ++first_[expert + 1];
  }
  int32_t begin = 0;
  for (int expert = 0; expert < num_experts; ++expert) {
    const int32_t count = first_[expert + 1];
    STEELYARD_CHECK_GE(count, 1);
    first_[expert + 1] = begin;
    begin += count;
  }
  for (size_t slot = 0; slot < num_slots; ++slot) {
    if (slot_to_expert[slot] == kNoExpert) continue;
    const int32_t entry = first_[slot_to_expert[slot] + 1]++;
    slots_[entry] = static_cast<int32_t>(slot);
    shares_[entry] = shares.empty() ? 0 : shares[slot];
  }
  for (int expert = 0; expert < num_experts; ++expert) {
    if (shares.empty()) {
      SplitEvenly(expert);
    } else {
      SplitByShares(expert);
    }
  }
}

void RoutingTable::SplitEvenly(int expert) {
  const int32_t first = first_[expert];
  const auto count = static_cast<uint64_t>(first_[expert + 1] - first);
  for (uint64_t i = 0; i < count; ++i) {
    shares_[first + i] = 1.0 / static_cast<double>(count);
    upto_[first + i] = kOne * (i + 1) / count;
  }
}

void RoutingTable::SplitByShares(int expert) {
  const int32_t first = first_[expert];
  const int32_t end = first_[expert + 1];
  double total = 0;
  int32_t last_used = first;
  for (int32_t i = first; i < end; ++i) {
    total += shares_[i];
    last_used = shares_[i] > 0 ? i : last_used;
  }
  STEELYARD_CHECK(total > 0);
  double sum = 0;
  for (int32_t i = first; i < end; ++i) {
    sum += shares_[i];
    shares_[i] /= total;
    // Rounding must not leave a last sliver of points to a slot that has no share.
    const double point = std::floor(sum / total * static_cast<double>(kOne));
    upto_[i] = i >= last_used ? kOne : std::min(kOne, static_cast<uint64_t>(point));
  }
}

int32_t RoutingTable::Pick(int expert, uint32_t token_idx, uint32_t offset) const {
  const int32_t first = first_[expert];
  const int32_t end = first_[expert + 1];
  if (end - first == 1) {
    return slots_[first];
  }
  const uint64_t point = static_cast<uint32_t>(offset + token_idx * kTokenStride);
  const auto begin = upto_.begin();
  return slots_[std::upper_bound(begin + first, begin + end, point) - begin];
}

}  // namespace steelyard
